"""The same requests to wherryd and, where there is one, to Docker's own daemon: both answer as it is written here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.busybox import import_busybox
from support.daemons import Daemon, DockerDaemon
from support.needs import need

pytestmark = need("root", "busybox")

Engine = Daemon | DockerDaemon
_FOREVER = ["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"]


@pytest.fixture(scope="module", params=["wherryd", "dockerd"])
def engine(request: pytest.FixtureRequest, busybox_archive: bytes) -> Iterator[Engine]:
    """One of the two, with the image and no containers."""
    engine = request.getfixturevalue("daemon" if request.param == "wherryd" else "dockerd")
    import_busybox(engine, busybox_archive)
    _remove_all(engine)
    yield engine
    _remove_all(engine)


def _remove_all(engine: Engine) -> None:
    for container in engine.request("GET", "/containers/json", all=True).json:
        engine.request("DELETE", f"/containers/{container['Id']}", force=True)


def create(engine: Engine, name: str, *command: str, Config: dict[str, Any] | None = None, **host: Any) -> Any:
    body = {"Image": "busybox", "Cmd": [*command], "HostConfig": {"NetworkMode": "none", **host}, **(Config or {})}
    return engine.request("POST", "/v1.41/containers/create", body, name=name)


def do(engine: Engine, method: str, target: str, **query: Any) -> None:
    answer = engine.request(method, f"/v1.41{target}", **query)
    assert answer.status < 300, answer.message


def test_events_tell_each_move_once_and_in_order(engine: Engine) -> None:
    since = time.time()
    identifier = create(engine, "mover", *_FOREVER).json["Id"]
    do(engine, "POST", "/containers/mover/start")
    do(engine, "GET", "/containers/mover/top")
    await_ready(engine, "mover", 1)
    do(engine, "POST", "/containers/mover/stop", t=60)
    do(engine, "POST", "/containers/mover/restart", t=60)
    await_ready(engine, "mover", 2)
    do(engine, "POST", "/containers/mover/restart", t=60)
    do(engine, "POST", "/containers/mover/kill")
    do(engine, "POST", "/containers/mover/wait")
    do(engine, "GET", "/containers/mover/export")
    do(engine, "DELETE", "/containers/mover")
    filters = json.dumps({"type": ["container"]})
    answer = engine.request("GET", "/events", since=f"{since:.9f}", until=f"{time.time():.9f}", filters=filters)
    told = [json.loads(line) for line in answer.body.splitlines()]
    assert {event["Actor"]["ID"] for event in told} == {identifier}
    stopped = ["kill 15", "die 5", "stop"]
    expected = ["create", "start", "top", *stopped, "start", "restart", *stopped, "start", "restart"]
    assert [_shown(event) for event in told] == [*expected, "kill 9", "die 137", "export", "destroy"]


def test_pruning_is_told_with_what_it_gave_back(engine: Engine) -> None:
    create(engine, "idle", "true")
    since = time.time()
    do(engine, "POST", "/containers/prune")
    filters = json.dumps({"event": ["prune"]})
    answer = engine.request("GET", "/events", since=f"{since:.9f}", until=f"{time.time():.9f}", filters=filters)
    (event,) = [json.loads(line) for line in answer.body.splitlines()]
    assert (event["Type"], event["Actor"]["ID"], list(event["Actor"]["Attributes"])) == ("container", "", ["reclaimed"])


def await_ready(engine: Engine, name: str, times: int) -> None:
    """Wait until the program has set its trap for that many times; before that the signal does nothing."""
    deadline = time.monotonic() + 60
    while engine.request("GET", f"/containers/{name}/logs", stdout=True).body.count(b"ready") < times:
        assert time.monotonic() < deadline, f"{name} does not run"
        time.sleep(0.02)


def _shown(event: dict[str, Any]) -> str:
    attributes = event["Actor"]["Attributes"]
    return f"{event['Action']} {attributes.get('signal') or attributes.get('exitCode') or ''}".strip()


class Bad(NamedTuple):
    """What cannot be, and the sentence about it; Docker's daemon calls some faults of the caller its own (500)."""

    host: dict[str, Any]
    sentence: str
    status: int = 400
    theirs: int = 0
    config: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def status_of(self, engine: Engine) -> int:
        return self.status if isinstance(engine, Daemon) else self.theirs or self.status


_UNKNOWN_DEVICE = [{"PathOnHost": "/dev/nope", "PathInContainer": "/dev/nope", "CgroupPermissions": "rwm"}]
_CREATES = {
    "memory": Bad({"Memory": 1000}, "Minimum memory limit allowed is 6MB"),
    "negative memory": Bad({"Memory": -5}, "Minimum memory limit allowed is 6MB"),
    "swap": Bad({"Memory": 10 << 20, "MemorySwap": 9 << 20}, "Minimum memoryswap limit should be larger than memory"),
    "swap alone": Bad({"MemorySwap": 9 << 20}, "You should always set the Memory limit when using Memoryswap limit"),
    "swappiness": Bad({"MemorySwappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
    "reservation": Bad({"MemoryReservation": 1000}, "Minimum memory reservation allowed is 6MB"),
    "kernel memory": Bad({"KernelMemory": 1000}, "Minimum kernel memory limit allowed is 6MB"),
    "oom score": Bad({"OomScoreAdj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
    "two quotas": Bad({"NanoCpus": 10**9, "CpuQuota": 10**5}, "Nano CPUs and CPU Quota cannot both be set"),
    "two periods": Bad({"NanoCpus": 10**9, "CpuPeriod": 10**5}, "Nano CPUs and CPU Period cannot both be set"),
    "processors": Bad({"NanoCpus": 10**13}, "ange of CPUs is from 0.01 to"),
    "period": Bad({"CpuPeriod": 10}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s"),
    "quota": Bad({"CpuQuota": 10}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    "absent processor": Bad({"CpusetCpus": "4095"}, "Requested CPUs are not available - requested 4095, available: "),
    "no processor": Bad({"CpusetCpus": "a-b"}, "Invalid value a-b for cpuset cpus: invalid format: a-b"),
    "absent node": Bad({"CpusetMems": "700"}, "Requested memory nodes are not available - requested 700, available: "),
    "real time": Bad(
        {"CpuRealtimePeriod": 10, "CpuRealtimeRuntime": 20},
        "cpu real-time runtime cannot be higher than cpu real-time period",
        theirs=500,
    ),
    "Windows": Bad({"IOMaximumBandwidth": 5}, "linux does not support configuration of maximum bandwidth", theirs=500),
    "capability": Bad({"CapAdd": ["FLY"]}, 'invalid CapAdd: unknown capability: "CAP_FLY"'),
    "dropped capability": Bad({"CapDrop": ["FLY"]}, 'invalid CapDrop: unknown capability: "CAP_FLY"'),
    "security": Bad({"SecurityOpt": ["foo=bar"]}, 'invalid --security-opt 2: "foo=bar"', theirs=500),
    "system paths": Bad({"SecurityOpt": ["systempaths=x"]}, 'invalid --security-opt 2: "systempaths=x"', theirs=500),
    "bind mode": Bad({"Binds": ["/tmp:/x:zz"]}, "invalid mode: zz", theirs=500),
    "bind target": Bad({"Binds": ["/tmp:rel"]}, "invalid mount path: 'rel' mount path must be absolute", theirs=500),
    "bind twice": Bad({"Binds": ["/tmp:/x", "/etc:/x"]}, "Duplicate mount point: /x"),
    "mount source": Bad(
        {"Mounts": [{"Type": "bind", "Source": "/no/such", "Target": "/x"}]},
        'invalid mount config for type "bind": bind source path does not exist: /no/such',
    ),
    "mount type": Bad({"Mounts": [{"Type": "x", "Source": "/tmp", "Target": "/x"}]}, '"x": mount type unknown'),
    "mount target": Bad({"Mounts": [{"Type": "tmpfs"}]}, '"tmpfs": field Target must not be empty'),
    "tmpfs": Bad({"Tmpfs": {"/": ""}}, "invalid specification: destination can't be '/'"),
    "shm": Bad({"ShmSize": -1}, "SHM size can not be less than 0"),
    "restart": Bad(
        {"RestartPolicy": {"Name": "always"}, "AutoRemove": True},
        "can't create 'AutoRemove' container with restart policy",
    ),
    "log option": Bad(
        {"LogConfig": {"Type": "json-file", "Config": {"foo": "1"}}}, "unknown log opt 'foo' for json-file log driver"
    ),
    "cgroup namespace": Bad({"CgroupnsMode": "x"}, "invalid cgroup namespace mode: x"),
    "pid of nobody": Bad({"PidMode": "container:nobody"}, "No such container: nobody"),
    "ipc of nobody": Bad({"IpcMode": "container:nobody"}, "No such container: nobody"),
    "host name": Bad({"UTSMode": "host"}, "hostname and the UTS mode", config={"Hostname": "x"}),
    "directory": Bad({}, "working directory 'rel' is invalid, it needs to be", config={"WorkingDir": "rel"}),
    "variable": Bad({}, "invalid environment variable: =x", config={"Env": ["=x"]}),
    "signal": Bad({}, "nvalid signal: FOO", config={"StopSignal": "FOO"}),
    "health": Bad({}, "Interval in Healthcheck cannot be less than 1ms", config={"Healthcheck": {"Interval": 5}}),
    "image": Bad({}, "No such image: nope:1", 404, config={"Image": "nope:1"}),
}
_STARTS = {
    "user": Bad({}, "unable to find user nobody-x: no matching entries", theirs=500, config={"User": "nobody-x"}),
    "group": Bad({}, "unable to find group gang: no matching entries", theirs=500, config={"User": "1:gang"}),
    "device": Bad({"Devices": _UNKNOWN_DEVICE}, 'custom device "/dev/nope": no such file or directory', theirs=500),
    "device rule's number": Bad(
        {"DeviceCgroupRules": [f"c {'9' * 20}:2 r"]}, "device cgroup rule format: ", theirs=500
    ),
    "device rule": Bad({"DeviceCgroupRules": ["c 1:2"]}, "device cgroup rule format: 'c 1:2'", theirs=500),
    "sysctl": Bad({"Sysctls": {"kernel.panic": "1"}}, "is not in a separate kernel namespace", theirs=500),
    "seccomp": Bad({"SecurityOpt": ["seccomp={"]}, "ecoding seccomp profile failed: ", theirs=500),
    "pid": Bad({"PidMode": "container:idle"}, "container {idle} is not running", 409, 500),
    "ipc": Bad({"IpcMode": "container:idle"}, "can't join IPC of container {idle}: container {idle} is not", 409, 500),
    "network": Bad({"NetworkMode": "container:idle"}, "cannot join network of a non running container: {idle}", 409),
    "private ipc": Bad(
        {"IpcMode": "container:busy"},
        "can't join IPC of container {busy}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
        theirs=500,
    ),
    "program": Bad({}, 'exec: "nosuch": executable file not found in $PATH', config={"Cmd": ["nosuch"]}),
    "no program": Bad({}, 'exec: "/etc/passwd": permission denied', config={"Cmd": ["/etc/passwd"]}),
}


@pytest.fixture(scope="module")
def others(engine: Engine) -> Iterator[dict[str, str]]:
    """A container that runs and one that does not: their IDs by name."""
    _remove_all(engine)
    found = {name: create(engine, name, *_FOREVER).json["Id"] for name in ("busy", "idle")}
    do(engine, "POST", "/containers/busy/start")
    yield found
    _remove_all(engine)


@pytest.mark.parametrize("bad", _CREATES.values(), ids=_CREATES.keys())
def test_what_cannot_be_is_refused_before_anything_is_made(engine: Engine, others: dict[str, str], bad: Bad) -> None:
    answer = create(engine, "bad", "true", **bad.host, Config=bad.config)
    assert (answer.status, bad.sentence in answer.message) == (bad.status_of(engine), True), answer.message
    assert len(engine.request("GET", "/containers/json", all=True).json) == len(others)


@pytest.mark.parametrize("bad", _STARTS.values(), ids=_STARTS.keys())
def test_a_start_that_cannot_be_says_why_and_leaves_the_container(
    engine: Engine, others: dict[str, str], bad: Bad
) -> None:
    assert create(engine, "bad", "true", **bad.host, Config=bad.config).status == 201
    answer = engine.request("POST", "/v1.41/containers/bad/start")
    assert answer.status == bad.status_of(engine), answer.message
    assert bad.sentence.format(**others) in answer.message
    state = engine.request("GET", "/v1.41/containers/bad/json").json["State"]
    assert (state["Status"], state["Pid"], state["Error"]) == ("created", 0, answer.message)
    assert state["ExitCode"] == {"program": 127, "no program": 126}.get(_name(bad), 128)
    do(engine, "DELETE", "/containers/bad")


def _name(bad: Bad) -> str:
    return next(name for name, other in _STARTS.items() if other is bad)


def test_execs_are_listed_while_they_run(engine: Engine, others: dict[str, str]) -> None:
    def listed() -> list[str]:
        found: list[str] | None = engine.request("GET", "/v1.41/containers/busy/json").json["ExecIDs"]
        return found or []

    wish = {"Cmd": ["sh", "-c", "exit 7"], "AttachStdout": True}
    quick = engine.request("POST", "/v1.41/containers/busy/exec", wish).json["Id"]
    assert listed() == [quick]
    engine.request("POST", f"/v1.41/exec/{quick}/start", {})
    deadline = time.monotonic() + 60
    while engine.request("GET", f"/v1.41/exec/{quick}/json").json["Running"]:
        assert time.monotonic() < deadline
    assert listed() == []
    assert engine.request("GET", f"/v1.41/exec/{quick}/json").json["ExitCode"] == 7
