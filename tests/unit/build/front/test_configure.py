"""Instructions that change an image's configuration, and what its history says about them."""

from __future__ import annotations

import json

import pytest

from support.fake_gateway import FakeGateway, config, history, image_config, solved, steps
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import Chown, FileAction, FileOp, MakeDirectory, Owner
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize(
    ("instructions", "changed", "entry"),
    [
        ("ENV A=1 B='2 3'", {"Env": [PATH, "A=1", "B=2 3"]}, "ENV A=1 B=2 3"),
        ("ENV A 1 2", {"Env": [PATH, "A=1 2"]}, "ENV A=1 2"),
        ('LABEL a=b c="d e"', {"Labels": {"a": "b", "c": "d e"}}, "LABEL a=b c=d e"),
        ("USER app:1", {"User": "app:1"}, "USER app:1"),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}, "VOLUME [/a /b]"),
        ("STOPSIGNAL SIGRTMIN+3", {"StopSignal": "SIGRTMIN+3"}, "STOPSIGNAL SIGRTMIN+3"),
        ("STOPSIGNAL 9", {"StopSignal": "9"}, "STOPSIGNAL 9"),
        ('SHELL ["/bin/bash", "-c"]', {"Shell": ["/bin/bash", "-c"]}, "SHELL [/bin/bash -c]"),
        ('CMD ["a", "b\\"c"]', {"Cmd": ["a", 'b"c'], "ArgsEscaped": True}, 'CMD ["a" "b\\"c"]'),
        ("CMD a b", {"Cmd": ["/bin/sh", "-c", "a b"], "ArgsEscaped": True}, 'CMD ["/bin/sh" "-c" "a b"]'),
        ('ENTRYPOINT ["a"]', {"Entrypoint": ["a"]}, 'ENTRYPOINT ["a"]'),
        ("EXPOSE 80", {"ExposedPorts": {"80/tcp": {}}}, "EXPOSE [80/tcp]"),
        ("EXPOSE 7-8/UDP", {"ExposedPorts": {"7/udp": {}, "8/udp": {}}}, "EXPOSE [7/udp 8/udp]"),
        ("EXPOSE 10.0.0.1:1:2", {"ExposedPorts": {"2/tcp": {}}}, "EXPOSE [2/tcp]"),
        ("ARG P='1 2'\nEXPOSE $P", {"ExposedPorts": {"1/tcp": {}, "2/tcp": {}}}, "EXPOSE [1/tcp 2/tcp]"),
        (
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl x",
            {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 90_000_000_000, "Retries": 2}},
            "HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
        ),
        (
            "HEALTHCHECK NONE",
            {"Healthcheck": {"Test": ["NONE"]}},
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
    ],
)
async def test_an_instruction_changes_the_configuration(
    instructions: str, changed: dict[str, object], entry: str
) -> None:
    result = await solved(f"FROM scratch\n{instructions}")
    assert config(result)["config"] == {"Env": [PATH], "WorkingDir": "/", **changed}
    assert config(result)["history"][-1] == {
        "created_by": entry,
        "comment": "buildkit.dockerfile.v0",
        "empty_layer": True,
    }


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("STOPSIGNAL SIGNOPE", "invalid signal: SIGNOPE"),
        ("STOPSIGNAL 0", "invalid signal: 0"),
        ("EXPOSE x", "invalid containerPort: x"),
        ("EXPOSE 80/icmp", 'invalid port: "80/icmp": invalid proto: icmp'),
        ("EXPOSE 9-8", "invalid containerPort: 9-8"),
        ("EXPOSE 65536", "invalid containerPort: 65536"),
        ("EXPOSE /tcp", "no port specified"),
        ("EXPOSE 1.2:1:2", "invalid IP address: 1.2"),
        ("EXPOSE 1-3:4-5", "invalid ranges specified"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
    ],
)
async def test_a_wrong_instruction_is_an_error_with_its_place(instruction: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        await solved(f"FROM scratch\n{instruction}")
    assert caught.value.ranges[0].start_line == 2


async def test_maintainer_is_the_author() -> None:
    result = await solved("FROM scratch\nMAINTAINER me")
    assert (config(result)["author"], history(result)) == ("me", ["MAINTAINER me"])


async def test_an_entrypoint_resets_the_command_of_the_base_but_not_one_beside_it() -> None:
    assert "Cmd" not in config(await solved('FROM busybox\nENTRYPOINT ["e"]'))["config"]
    assert config(await solved('FROM busybox\nCMD ["c"]\nENTRYPOINT ["e"]'))["config"]["Cmd"] == ["c"]


async def test_a_command_and_an_entrypoint_can_be_taken_away() -> None:
    found = config(await solved('FROM busybox\nENTRYPOINT ["e"]\nCMD ["c"]\nCMD []\nENTRYPOINT []'))["config"]
    assert not {"Cmd", "Entrypoint"} & found.keys()


async def test_arguments_are_in_the_history_with_their_values() -> None:
    result = await solved("ARG G=g\nFROM scratch\nARG A=1 B\nARG G\nARG C", {"build-arg:B": "2"})
    assert history(result) == ["ARG A=1 B=2", "ARG G=g", "ARG C"]


async def test_a_variable_keeps_its_place_when_it_is_set_again() -> None:
    result = await solved("FROM scratch\nENV A=1 B=2\nENV A=$A$A")
    assert config(result)["config"]["Env"][1:] == ["A=11", "B=2"]


# --- WORKDIR ---


async def test_a_working_directory_is_made() -> None:
    result = await solved("FROM busybox\nUSER app\nWORKDIR /a\nWORKDIR ../b/./c")
    assert config(result)["config"]["WorkingDir"] == "/b/c"
    assert history(result)[-1] == "WORKDIR /b/c"
    assert "empty_layer" not in config(result)["history"][-1]
    vertex = steps(result)["[3/3] WORKDIR ../b/./c"]
    chown = Chown(Owner(name="app", input=0))
    assert vertex.op == FileOp((FileAction(MakeDirectory("/b/c", 0o755, parents=True, chown=chown), 0, output=0),))


async def test_the_root_as_working_directory_needs_no_step() -> None:
    result = await solved("FROM scratch\nWORKDIR /")
    assert result.refs[""].edge is None
    assert config(result)["history"][-1]["empty_layer"]


# --- bases ---


async def test_members_that_are_not_known_are_kept() -> None:
    base = json.loads(image_config(Env=["A=1"], Memory=5))
    base |= {"example.x": [1], "os.features": ["f"]}
    gateway = FakeGateway("FROM busybox", images={"docker.io/library/busybox:latest": json.dumps(base).encode()})
    result = await solved("", gateway=gateway)
    found = config(result)
    assert (found["example.x"], found["os.features"], found["config"]["Memory"]) == ([1], ["f"], 5)
    assert not {"rootfs", "created"} & found.keys()
    assert result.refs[""].base_config == json.dumps(base).encode()


async def test_what_is_about_the_base_alone_goes() -> None:
    base = json.loads(image_config(Hostname="h", Image="sha256:1", Tty=True, User="u", WorkingDir="", Labels={}))
    base |= {"container": "c", "container_config": {}, "docker_version": "20", "comment": "x", "author": "a"}
    base |= {"moby.buildkit.cache.v0": "e30="}
    gateway = FakeGateway("FROM busybox", images={"docker.io/library/busybox:latest": json.dumps(base).encode()})
    found = config(await solved("", gateway=gateway))
    assert found.keys() == {"architecture", "author", "config", "history", "os"}
    assert found["config"] == {"Env": [PATH], "User": "u"}


async def test_the_history_of_the_base_comes_first() -> None:
    assert history(await solved("FROM busybox\nENV A=1")) == ["ADD rootfs.tar /", "ENV A=1"]


async def test_a_base_without_a_path_gets_one() -> None:
    gateway = FakeGateway("FROM busybox", images={"docker.io/library/busybox:latest": image_config()})
    assert config(await solved("", gateway=gateway))["config"]["Env"] == [PATH]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"config": 5, "rootfs": {"type": "layers"}}', b"[" * 100_000])
async def test_a_base_whose_configuration_is_none_is_an_error(data: bytes) -> None:
    gateway = FakeGateway("FROM busybox", images={"docker.io/library/busybox:latest": data})
    with pytest.raises(InvalidInput, match="failed to parse image config"):
        await solved("", gateway=gateway)


async def test_members_that_are_null_are_absent() -> None:
    data = json.dumps({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        "config": {"Env": None, "Cmd": None, "Labels": None, "Volumes": None}, "history": None,
    })  # fmt: skip
    gateway = FakeGateway(
        "FROM busybox\nLABEL a=b\nVOLUME /v", images={"docker.io/library/busybox:latest": data.encode()}
    )
    assert config(await solved("", gateway=gateway))["config"] == {
        "Env": [PATH], "Labels": {"a": "b"}, "Volumes": {"/v": {}},
    }  # fmt: skip


# --- the result ---


async def test_labels_of_the_build_win() -> None:
    result = await solved("FROM scratch\nLABEL a=1 b=2", {"label:a": "3", "label:c": ""})
    assert config(result)["config"]["Labels"] == {"a": "3", "b": "2", "c": ""}


async def test_a_date_is_in_the_history_and_on_new_directories() -> None:
    result = await solved("FROM busybox\nWORKDIR /w", {"build-arg:SOURCE_DATE_EPOCH": "1700000000"})
    assert config(result)["history"][-1]["created"] == "2023-11-14T22:13:20Z"
    assert result.metadata == {"source.date.epoch": b"1700000000"}
    op = steps(result)["[2/2] WORKDIR /w"].op
    assert isinstance(op, FileOp)
    assert isinstance(op.actions[0].action, MakeDirectory)
    assert op.actions[0].action.timestamp == 1_700_000_000_000_000_000


@pytest.mark.parametrize("text", ["tomorrow", "1.5", "9" * 30])
async def test_a_date_that_is_no_number_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid SOURCE_DATE_EPOCH"):
        await solved("FROM scratch", {"build-arg:SOURCE_DATE_EPOCH": text})


async def test_the_same_build_gives_the_same_bytes() -> None:
    text = "FROM busybox\nLABEL b=1 a=2\nEXPOSE 2 1\nRUN x"
    first, second = await solved(text), await solved(text)
    assert first.refs[""].config == second.refs[""].config
    assert first.refs[""].edge == second.refs[""].edge


async def test_the_image_is_for_the_platform_that_was_asked_for() -> None:
    result = await solved("FROM busybox", {"platform": "linux/arm/v7"})
    assert (config(result)["architecture"], config(result)["variant"]) == ("arm", "v7")
    assert list(result.refs) == [""]
    several = await solved("FROM busybox", {"platform": "linux/arm/v7", "multi-platform": "true"})
    assert list(several.refs) == ["linux/arm/v7"]


@pytest.mark.parametrize(
    ("base", "asked", "platform"),
    [
        (Platform("linux", "arm64", "v8"), "", ("arm64", None)),
        (Platform("linux", "arm64", "v8"), "linux/arm64", ("arm64", None)),
        (Platform("linux", "arm", "v6"), "", ("arm", "v6")),
        (Platform("linux", "arm", "v6"), "linux/arm", ("arm", "v6")),
        (Platform("linux", "arm", "v6"), "linux/arm/v7", ("arm", "v7")),
        (Platform("linux", "arm", "v6"), "linux/riscv64", ("riscv64", None)),
    ],
)
async def test_a_variant_that_says_something_is_kept(
    base: Platform, asked: str, platform: tuple[str, str | None]
) -> None:
    gateway = FakeGateway("FROM busybox", images={"docker.io/library/busybox:latest": image_config(base)})
    found = config(await solved("", {"platform": asked}, gateway=gateway))
    assert (found["architecture"], found.get("variant")) == platform
