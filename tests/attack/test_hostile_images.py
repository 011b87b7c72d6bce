"""What the author of an image can do: files in the way of what is mounted and looked up, odd values in documents."""

from __future__ import annotations

import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from support.archives import Layout, Member, config, digest, directory, docker_archive, link, member, named, tar
from support.daemons import Daemon
from support.needs import need
from wherry.oci.platform import Platform

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("unharmed")]

NAME = "hostile:1"
FIFO = {"type": tarfile.FIFOTYPE, "mode": 0o666}
TAR = {"Content-Type": "application/x-tar"}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's that links of an image lead to; nothing in it may change."""
    for name in ("etc/passwd", "etc/hosts", "etc/hostname", "etc/resolv.conf", "self/status", "null"):
        path = tmp_path / "outside" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("root:x:0:0:mine::\n")
    before = _state(tmp_path / "outside")
    yield tmp_path / "outside"
    assert _state(tmp_path / "outside") == before


def _state(directory: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.lstat().st_mode, path.read_text() if path.is_file() else "") for path in directory.rglob("*")
    }


def load(daemon: Daemon, archive: bytes) -> str:
    """Load an archive; gives the error, or nothing."""
    answer = daemon.request("POST", "/images/load", archive, headers=TAR)
    if answer.status != 200:
        assert answer.status in (400, 413), answer.body
        return answer.message
    errors = [json.loads(line).get("error", "") for line in answer.body.splitlines()]
    assert not any("internal" in error for error in errors), errors
    return "".join(errors)


@pytest.fixture
def gone(daemon: Daemon) -> Iterator[None]:
    """What a test made is removed."""
    yield
    daemon.remove_containers()
    daemon.request("DELETE", f"/images/{NAME}", force=True)


# --------------------------------------------------------------------------------------------------- root directories


def aimed(target: str, *names: str) -> list[Member]:
    return [link(name, target) for name in names]


#: What an image has, and how a container of it ends: with which status, and what it says.
ROOTS: dict[str, tuple[list[Member], int, str]] = {
    "etc is a link out": (aimed("{out}/etc", "etc"), 0, ""),
    "etc is a link through proc": (aimed("/proc/self/root/{out}/etc", "etc"), 125, "/etc/hostname"),
    "etc is a link to itself": (aimed("etc", "etc"), 125, "too many levels of symbolic links"),
    "etc is a fifo": ([member("etc", **FIFO)], 125, "not a directory"),
    "proc is a link out": (aimed("{out}", "proc"), 125, "must be an ordinary directory"),
    "proc is a link to the root": (aimed("/", "proc"), 125, "must be an ordinary directory"),
    "proc is a file": ([member("proc", b"x")], 125, "must be an ordinary directory"),
    "dev is a link out": (aimed("{out}", "dev"), 0, ""),
    "dev is a fifo": ([member("dev", **FIFO)], 125, "not a directory"),
    "sys is a link to proc": (aimed("proc", "sys"), 125, "must be an ordinary directory"),
    "hosts is a link out": (aimed("{out}/etc/hosts", "etc/hosts", "etc/hostname", "etc/resolv.conf"), 0, ""),
    "hosts is a fifo": ([member(f"etc/{name}", **FIFO) for name in ("hosts", "hostname", "resolv.conf")], 0, ""),
    "hosts is a directory": ([directory("etc/hosts/x")], 126, "is a directory"),
    "the program is a fifo": ([member("bin/busybox", **FIFO)], 127, "executable file not found"),
    "the program is a directory": ([directory("bin/busybox")], 127, "executable file not found"),
    "the program is its own interpreter": ([member("bin/sh", b"#!/bin/sh\n", mode=0o755)], 125, "too many levels"),
    "the program is a link out": (aimed("{out}/null", "bin/sh"), 127, "executable file not found"),
    "the program is nothing": ([member("bin/sh", b"", mode=0o755)], 126, "exec format error"),
}


@pytest.mark.parametrize("what", ROOTS)
@pytest.mark.usefixtures("gone")
def test_what_stands_where_the_engine_mounts_leads_nowhere(
    daemon: Daemon, busybox_archive: bytes, outside: Path, what: str
) -> None:
    members, status, says = ROOTS[what]
    for info, _ in members:
        info.linkname = info.linkname.replace("{out}", str(outside))
    assert load(daemon, docker_archive([busybox_archive, tar(members)], [NAME])) == ""
    done = daemon.cli("run", "--rm", "--network", "none", NAME, "sh", "-c", "echo x >>/etc/hosts; exit 0")
    assert (done.returncode, says in done.stderr.lower()) == (status, True), done.stderr


ZERO = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}


def lists(data: bytes = b"", **fields: Any) -> list[Member]:
    """Both lists, of this kind."""
    return [member("etc/passwd", data, **fields), member("etc/group", data, **fields)]


#: What the image has as its lists of users and groups; the exit status for a user by name, and by number.
USERS: dict[str, tuple[list[Member], int, int]] = {
    "fifos": (lists(**FIFO), 125, 125),
    "directories": ([directory("etc/passwd/x"), directory("etc/group/x")], 125, 125),
    "links out": (aimed("{out}/etc/passwd", "etc/passwd", "etc/group"), 125, 0),
    "devices": (lists(**ZERO), 125, 125),
    "noise": (lists(os.urandom(1 << 16)), 125, 0),
    "a line of a megabyte": ([member("etc/passwd", b"x" * (1 << 20) + b"\nguest:x:1000:1000::/:\n")], 0, 0),
    "numbers of other worlds": ([member("etc/passwd", b"guest:x:4294967296:-1::/:\n")], 125, 0),
    "a name that is a number": ([member("etc/passwd", b"1000:x:0:0::/:\n")], 125, 0),
    "sixty megabytes": ([member("etc/passwd", b"a:x:1:1::/:/bin/sh\n" * 3_000_000)], 125, 125),
}


@pytest.mark.parametrize("what", USERS)
@pytest.mark.usefixtures("gone")
def test_lists_of_users_stop_nobody(daemon: Daemon, busybox_archive: bytes, outside: Path, what: str) -> None:
    members, by_name, by_number = USERS[what]
    for info, _ in members:
        info.linkname = info.linkname.replace("{out}", str(outside))
    assert load(daemon, docker_archive([busybox_archive, tar(members)], [NAME])) == ""
    for user, status in (("guest", by_name), ("1000", by_number)):
        done = daemon.cli("run", "--rm", "--network", "none", "--user", user, NAME, "id", "-u")
        assert done.returncode == status, (user, done.stdout, done.stderr)
        assert done.stdout == ("" if status else "1000\n")


# ---------------------------------------------------------------------------------------------------------- documents

HUGE = 10**30
#: Values of an image's configuration; True where Docker's own types take them, so that the image is loaded.
CONFIGS: dict[str, dict[str, Any]] = {
    "user with a line break": {"User": "root\nx"},
    "user that climbs": {"User": "../../etc/passwd"},
    "user below zero": {"User": "-1"},
    "user too large": {"User": "4294967296"},
    "user of three parts": {"User": "0:0:0"},
    "user of a megabyte": {"User": "a" * (1 << 20)},
    "user that is a number": {"User": 0},
    "environment with a zero byte": {"Env": ["A=\0b"]},
    "environment without names": {"Env": ["=x", "", "="]},
    "environment of nothing": {"Env": [None]},
    "environment that is a number": {"Env": 5},
    "environment of a megabyte": {"Env": ["A=" + "b" * (1 << 20)]},
    "command that is a string": {"Cmd": "sh"},
    "command of numbers": {"Cmd": [1, 2]},
    "command of nothing": {"Cmd": [""]},
    "command with a zero byte": {"Cmd": ["sh\0"]},
    "command of a megabyte": {"Cmd": ["sh", "x" * (1 << 20)]},
    "entry point of nothing": {"Entrypoint": [""], "Cmd": None},
    "working directory that climbs": {"WorkingDir": "../../../../tmp"},
    "working directory with a zero byte": {"WorkingDir": "/a\0b"},
    "working directory of descriptors": {"WorkingDir": "/proc/self/fd/7"},
    "working directory too long": {"WorkingDir": "/x" * 5000},
    "volume at the root": {"Volumes": {"/": {}}},
    "volume that climbs": {"Volumes": {"../../x": {}}},
    "volume over proc": {"Volumes": {"/proc": {}, "/proc/sys": {}, "/dev": {}, "/sys/fs/cgroup": {}}},
    "volumes without number": {"Volumes": {f"/v{number}": {} for number in range(2000)}},
    "volumes in a list": {"Volumes": ["/x"]},
    "port too large": {"ExposedPorts": {"99999999/tcp": {}}},
    "port of no protocol": {"ExposedPorts": {"80/evil": {}, "x": {}, "": {}, "80-70/tcp": {}}},
    "ports without number": {"ExposedPorts": {f"{number}/tcp": {} for number in range(1, 60_000)}},
    "check of nothing": {"Healthcheck": {"Test": ["CMD"]}},
    "check that is a string": {"Healthcheck": {"Test": "true"}},
    "check below zero": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": -1, "Timeout": -5, "Retries": -1}},
    "check without pause": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1, "Timeout": 1}},
    "check for ever": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": HUGE}},
    "signal of no kernel": {"StopSignal": "SIGNOPE"},
    "signal too large": {"StopSignal": "99999"},
    "signal of nothing": {"StopSignal": "0"},
    "patience for ever": {"StopTimeout": HUGE},
    "patience below zero": {"StopTimeout": -1},
    "labels of numbers": {"Labels": {"a": 1}},
    "labels of escapes": {"Labels": {"\x1b]0;x\x07": "\x1b[2J"}},
    "shell that is a string": {"Shell": "sh"},
    "members of no type": {"Nope": {"deep": [[[[]]]]}, "OnBuild": 7, "Domainname": 5, "AttachStdin": "yes"},
}


@pytest.mark.parametrize("what", CONFIGS)
@pytest.mark.usefixtures("gone")
def test_odd_values_are_refused_or_harmless(daemon: Daemon, busybox_archive: bytes, what: str) -> None:
    archive = docker_archive([busybox_archive], [NAME], config={"Cmd": ["true"], **CONFIGS[what]})
    if load(daemon, archive):
        assert daemon.request("GET", f"/images/{NAME}/json").status == 404, "refused, and yet there"
        return
    for path in (f"/images/{NAME}/json", f"/images/{NAME}/history", "/images/json", "/system/df"):
        assert daemon.request("GET", path).status == 200
    request = {"Image": NAME, "HostConfig": {"NetworkMode": "none"}}
    created = daemon.request("POST", "/containers/create", request)
    assert created.status in (201, 400), created.body
    if created.status == 201:
        container = created.json["Id"]
        assert daemon.request("GET", f"/containers/{container}/json").status == 200
        started = daemon.request("POST", f"/containers/{container}/start")
        assert started.status in (204, 400), started.body
        if started.status == 204:
            assert daemon.request("POST", f"/containers/{container}/wait").status == 200
        assert daemon.request("DELETE", f"/containers/{container}", force=True, v=True).status == 204


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ({"x": {}}, 'invalid port specification: "x"'),
        ({"80/evil": {}}, "invalid proto: evil"),
        ({f"{number}-65535/tcp": {} for number in range(1, 60_000)}, "too many ports"),
    ],
)
@pytest.mark.usefixtures("gone")
def test_ports_that_are_none_do_not_keep_containers_from_being_listed(
    daemon: Daemon, busybox_archive: bytes, ports: dict[str, Any], words: str
) -> None:
    """Who lists those that run asks for their ports, of all at once."""
    assert not load(daemon, docker_archive([busybox_archive], [NAME], config={"ExposedPorts": ports}))
    made = daemon.request("POST", "/containers/create", {"Image": NAME, "Cmd": ["sleep", "600"]})
    assert (made.status, words in made.message) == (400, True), made.body


LAYER = tar([member("x", b"x")])


def image_of(document: Any, manifest: Any, *before: Member) -> bytes:
    """An archive with any two documents; what else stands before them."""
    documents = {"config.json": document, "manifest.json": manifest}
    members = [member(name, json.dumps(value).encode()) for name, value in documents.items() if value is not None]
    return tar([*before, member("layer.tar", LAYER), *members])


def of_layers(*digests: str) -> dict[str, Any]:
    """A configuration with these."""
    return {**GOOD, "rootfs": {"type": "layers", "diff_ids": digests}}


GOOD = json.loads(config([LAYER]))
ENTRY = {"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}
MANY = 5000
#: Archives that no engine made. Each is refused; what is right about the others is tested elsewhere.
ARCHIVES: dict[str, bytes] = {
    "a layer of the host's": image_of(GOOD, [{**ENTRY, "Layers": ["/etc/passwd"]}]),
    "a layer that climbs": image_of(GOOD, [{**ENTRY, "Layers": ["../../../../etc/passwd"]}]),
    "a configuration of the host's": image_of(GOOD, [{**ENTRY, "Config": "/etc/passwd"}]),
    "a configuration that is a link": image_of(None, [ENTRY], link("config.json", "/etc/passwd")),
    "a layer that is a link": image_of(GOOD, [{**ENTRY, "Layers": ["other.tar"]}], link("other.tar", "/etc/passwd")),
    "other bytes than the digest says": image_of(of_layers(digest(b"")), [ENTRY]),
    "more layers than digests": image_of(GOOD, [{**ENTRY, "Layers": ["layer.tar"] * 3}]),
    "more digests than layers": image_of(of_layers(*[digest(LAYER)] * 3), [ENTRY]),
    "layers without number": image_of(of_layers(*[digest(LAYER)] * MANY), [{**ENTRY, "Layers": ["layer.tar"] * MANY}]),
    "a manifest that is a number": image_of(GOOD, 5),
    "a manifest of numbers": image_of(GOOD, [5]),
    "a manifest of nothing": image_of(GOOD, [{}]),
    "a name that is none": image_of(GOOD, [{**ENTRY, "RepoTags": ["../../x:1"]}]),
    "a name with escapes": image_of(GOOD, [{**ENTRY, "RepoTags": ["a\x1b[2J:1"]}]),
    "a deep document": tar([member("manifest.json", b"[" * 200_000), member("config.json", b"{}")]),
    "a number of a million digits": tar([member("manifest.json", b"[" + b"9" * 1_000_000 + b"]")]),
    "a document that is no text": tar([member("manifest.json", b"\xff\xfe\x00[]")]),
    "a document that is a fifo": tar([member("manifest.json", **FIFO)]),
    "a document that is a directory": tar([directory("manifest.json")]),
    "nothing": b"",
    "noise": bytes(range(256)) * 64,
    "half an archive": docker_archive([LAYER], [NAME])[:2000],
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_no_engine_made_is_refused_and_leaves_nothing(daemon: Daemon, what: str) -> None:
    before = daemon.request("GET", "/images/json", all=True).json
    earlier = set(daemon.unfinished())  # what others have removed goes at its leisure
    error = load(daemon, ARCHIVES[what])
    assert error
    assert "root:" not in error, "a file of the host's is shown"
    assert daemon.request("GET", "/images/json", all=True).json == before
    assert set(daemon.unfinished()) <= earlier


@pytest.mark.parametrize(
    "hostile",
    [
        "", "null", "[]", '["linux/amd64"]', "{}", '{"os":"linux"}', '{"os":"../..","architecture":"amd64"}',
        '{"os":1,"architecture":2}', '{"a":' * 900, "linux/" + "a" * 3000, "linux/\x1b[31m", "*", "all", "//", "\0",
        '{"os":"linux","architecture":"s390x","variant":"' + "9" * 3000 + '"}', "9" * 5000,
    ],
)  # fmt: skip
def test_whatever_is_given_as_a_platform_no_image_goes_by_mistake(daemon: Daemon, gone: None, hostile: str) -> None:
    layout = Layout()
    parts = [layout.image([tar([member("name", b"1")])], one) for one in (Platform.host().architecture, "s390x")]
    layout.index = [layout.nested(parts, annotations=named(f"docker.io/library/{NAME}"))]
    assert load(daemon, layout.archive()) == ""
    before = daemon.request("GET", f"/images/{NAME}/json", manifests=True).json
    for given in ([hostile], [hostile, '{"os":"linux","architecture":"s390x"}']):
        query = urlencode([("force", "1"), *(("platforms", one) for one in given)])
        answer = daemon.request("DELETE", f"/images/{NAME}?{query}")
        assert answer.status in (400, 404), answer.body
    assert daemon.request("GET", f"/images/{NAME}/json", manifests=True).json == before
    assert all(part["Available"] for part in before["Manifests"])
    assert len(before["Manifests"]) == len(parts)


def test_an_index_that_lists_thousands_holds_nobody_else_up(daemon: Daemon, gone: None) -> None:
    layout = Layout()
    kind = "application/vnd.oci.image.manifest.v1+json"
    other = {"mediaType": kind, "size": 3, "platform": {"os": "linux", "architecture": "s390x"}}
    absent = [{**other, "digest": digest(str(number).encode())} for number in range(15_000)]
    mine = layout.image([tar([member("name", b"1")])], Platform.host().architecture)
    layout.index = [layout.nested([mine, *absent], annotations=named(f"docker.io/library/{NAME}"))]
    assert load(daemon, layout.archive()) == ""
    look = threading.Thread(target=daemon.request, args=("GET", f"/images/{NAME}/json"))
    look.start()
    answered = 0
    while look.is_alive():
        assert daemon.request("GET", "/_ping").status == 200
        answered += look.is_alive()
    assert answered > 5
