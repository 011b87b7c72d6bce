"""For the same flags wherry and the docker command ask for the same container.

``data/create_bodies.json`` holds what Docker's client 28.2.2 sent, recorded by a server that spoke API 1.50: the
whole body for ``create busybox``, and for every other command line what differs from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wherry.cli.create.body import create_body
from wherry.cli.flags.container import CONTAINER_FLAGS
from wherry.cli.flags.parser import UsageError, parse
from wherry.errors import InvalidInput

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "create_bodies.json").read_text())
FILES = {
    "env.list": "A=1\n# comment\n\nB=two words\nHOME\nNOSUCHVAR\n  C=3\n",
    "label.list": "l1=v1\n#x\nl2\n",
    "sec.json": '{ "defaultAction": "SCMP_ACT_ALLOW",\n "x": "a  b <&>" }',
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("NOSUCHVAR", raising=False)
    return tmp_path


def body(*words: str) -> dict[str, Any]:
    options, arguments = parse(CONTAINER_FLAGS, words, interspersed=False)
    return create_body(options, arguments[0], arguments[1:])


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: " ".join(case["argv"])[:70])
def test_the_body_is_docker_s(case: dict[str, Any], folder: Path) -> None:
    changed = json.loads(json.dumps(case).replace("{cwd}", str(folder)))
    expected = {**RECORDED["base"], **changed["body"]}
    expected["HostConfig"] = {**RECORDED["base"]["HostConfig"], **changed["host_config"]}
    assert body(*case["argv"]) == expected


def test_an_ipv6_address_to_publish_on_needs_no_brackets() -> None:
    assert body("-p", "::1:8080:80", "busybox") == body("-p", "[::1]:8080:80", "busybox")


def test_variables_come_in_the_order_in_which_they_were_typed() -> None:
    assert body("-e", "A=1", "-e", "HOME", "-e", "NOSUCHVAR", "-eB=2", "busybox")["Env"] == [
        "A=1",
        "HOME=/h",
        "NOSUCHVAR",
        "B=2",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rm", "--restart", "always"], "conflicting options: cannot specify both --restart and --rm"),
        (["--health-cmd", "x", "--no-healthcheck"], "--no-healthcheck conflicts with --health-* options"),
        (["--env-file", "/nonexist"], "open /nonexist: no such file or directory"),
        (["--device", "/x:/y:q"], "bad mode specified: q"),
        (["-p", "foo"], "invalid containerPort: foo"),
        (["-p", "1:2:3:4"], "invalid IP address: 1:2"),
        (["-p", "localhost:8080:80"], "invalid IP address: localhost"),
        (["-p", "1-3:1-2"], "invalid ranges specified for container and host Ports: 1-2 and 1-3"),
        (["-p", "80/icmp"], "invalid proto: icmp"),
        (["-p", "99999"], "invalid containerPort: 99999"),
        (["--security-opt", "foo"], 'Invalid --security-opt: "foo"'),
        (["--security-opt", "seccomp=/nonexist"],
         "opening seccomp profile (/nonexist) failed: open /nonexist: no such file or directory"),
        (["--memory-swappiness", "101"], "invalid value: 101. Valid memory swappiness range is 0-100"),
        (["--pid", "x"], "--pid: invalid PID mode"),
        (["--uts", "x"], "--uts: invalid UTS mode"),
        (["--restart", "on-failure:x"],
         "invalid restart policy format: maximum retry count must be an integer"),
        (["--log-driver", "none", "--log-opt", "a=b"], "invalid logging opts for driver none"),
        (["-v", ""], "invalid empty volume spec"),
        (["--network", "a", "--ip", "1.2.3.4", "--network", "name=b"], ""),
        (["--network", "name=a,ip=1.2.3.4", "--ip", "1.2.3.5"],
         "conflicting options: cannot specify both --ip and per-network ip"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(words: list[str], message: str) -> None:
    if not message:
        assert set(body(*words, "busybox")["NetworkingConfig"]["EndpointsConfig"]) == {"a", "b"}
        return
    with pytest.raises(InvalidInput) as caught:
        body(*words, "busybox")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "1x"], 'invalid argument "1x" for "-m, --memory" flag: invalid suffix: \'x\''),
        (["--cpus", "abc"], 'invalid argument "abc" for "--cpus" flag: failed to parse abc as a rational number'),
        (["--ulimit", "x"], 'invalid argument "x" for "--ulimit" flag: invalid ulimit argument: x'),
        (["--mount", "src=/x"], 'invalid argument "src=/x" for "--mount" flag: target is required'),
        (["--sysctl", "foo"], 'invalid argument "foo" for "--sysctl" flag: sysctl \'foo\' is not allowed'),
        (["-l", "=x"], 'invalid argument "=x" for "-l, --label" flag: invalid label \'=x\': empty name'),
        (["--add-host", "a"], 'invalid argument "a" for "--add-host" flag: bad format for add-host: "a"'),
        (["--health-interval", "5"],
         'invalid argument "5" for "--health-interval" flag: time: missing unit in duration "5"'),
        (["-a", "foo"], 'invalid argument "foo" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'),
        (["--blkio-weight", "70000"],
         'invalid argument "70000" for "--blkio-weight" flag: strconv.ParseUint: parsing "70000": value out of range'),
        (["--shm-size=-1"], 'invalid argument "-1" for "--shm-size" flag: invalid size: \'-1\''),
        (["--cpus", "0.0000000001"], 'invalid argument "0.0000000001" for "--cpus" flag: value is too precise'),
        (["--oom-score-adj", "abc"],
         'invalid argument "abc" for "--oom-score-adj" flag: strconv.ParseInt: parsing "abc": invalid syntax'),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_in_docker_s_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        body(*words, "busybox")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    ["type=bind,dst=/x,tmpfs-size=1", "dst=/x,foo=1", "type=tmpfs,dst=/x,tmpfs-mode=9", "type=bind,dst=/x,ro=maybe",
     '"dst=/x', "type=bind,dst=/x,bind-recursive=no", "type=bind,dst=/x,bind-recursive=readonly"],
)  # fmt: skip
def test_a_mount_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--mount"):
        body("--mount", text, "busybox")
