"""RUN's mounts and devices."""

from __future__ import annotations

import pytest

from wherry.build.dockerfile.devices import parse_device
from wherry.build.dockerfile.instructions import CommandLine, Device, Run
from wherry.build.dockerfile.mounts import Mount, MountType, check_mount, run_mounts
from wherry.errors import InvalidInput


def mount(text: str) -> Mount:
    run = Run(keyword="RUN", original="", ranges=(), command=CommandLine((), True), mounts=(text,))
    (found,) = run_mounts(run, lambda word: word.replace("$x", "expanded"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", Mount(target="/a")),
        ("type=bind,src=s,dst=/a,rw", Mount(source="s", target="/a", readonly=False)),
        ("from=base,destination=/a,readonly=false", Mount(from_="base", target="/a", readonly=False)),
        ("target=/a,readwrite=false", Mount(target="/a", readonly=True)),
        (
            "TYPE=Cache,id=$x,target=/c,sharing=LOCKED,mode=0755,uid=1,gid=2",
            Mount(
                type=MountType.CACHE,
                id="expanded",
                target="/c",
                sharing="locked",
                mode=0o755,
                uid=1,
                gid=2,
                readonly=False,
            ),
        ),
        ("type=cache,target=/c,ro", Mount(type=MountType.CACHE, target="/c", readonly=True)),
        ("type=tmpfs,target=/t,size=1.5k", Mount(type=MountType.TMPFS, target="/t", size=1536, readonly=False)),
        ("type=secret,id=s,required", Mount(type=MountType.SECRET, id="s", required=True)),
        ("type=secret,id=s,env=", Mount(type=MountType.SECRET, id="s", env="")),
        ("type=ssh,required=true", Mount(type=MountType.SSH, required=True)),
        ('"target=/a,b",rw', Mount(target="/a,b", readonly=False)),
    ],
)
def test_a_mount_is_read(text: str, expected: Mount) -> None:
    assert mount(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=ccache", 'unsupported mount type "ccache" (did you mean cache?)'),
        ("tgt=/a", "unexpected key 'tgt' in 'tgt=/a' (did you mean dst?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=x", "invalid value for size: x"),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("type=cache,sharing=locke", 'unsupported sharing value "locke" (did you mean locked?)'),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,gid=4294967296", "invalid value 4294967296 for gid"),
        ("uid=1", 'uid not allowed for "bind" type mounts'),
        ("type=secret,from=a,id=x", "secret mount should not have a from"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,source=a,id=b", "both source and id can't be set"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("sharing=shared", "invalid cache sharing set for bind mount"),
        ("", "failed to parse csv mounts: EOF"),
        ('a"b', 'failed to parse csv mounts: parse error on line 1, column 2: bare " in non-quoted field'),
        ('"a', 'failed to parse csv mounts: parse error on line 1, column 3: extraneous or missing " in quoted-field'),
    ],
)
def test_a_wrong_mount_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        mount(text)
    assert caught.value.message == message


def test_a_stage_cannot_be_named_by_a_variable() -> None:
    check_mount("type=bind,from=base,target=$x")
    with pytest.raises(InvalidInput, match="'from' doesn't support variable expansion"):
        check_mount("from=$base,target=/x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vendor.com/gpu=0", Device("vendor.com/gpu=0")),
        ("vendor.com/gpu,required", Device("vendor.com/gpu", True)),
        ("name=vendor.com/gpu=all,required=false", Device("vendor.com/gpu=all")),
    ],
)
def test_a_device_is_read(text: str, expected: Device) -> None:
    assert parse_device(text) == expected


@pytest.mark.parametrize("text", ["a,b", "a,name=b", "a,required=x", "", "a,x=y"])
def test_a_wrong_device_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_device(text)
