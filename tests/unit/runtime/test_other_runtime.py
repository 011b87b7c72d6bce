"""What another runtime is given: the specification without what is wherry's own, and the commands."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import InvalidInput, Unsupported
from wherry.linux.process import CLONE, clone
from wherry.oci.runtime_spec import Linux, Mount, Namespace, Process, Root, Seccomp, Spec, User
from wherry.runtime.channel import make
from wherry.runtime.compile.other_runtime import Runtime, compile_other, compile_other_exec
from wherry.runtime.launch.other_runtime import OtherLaunched
from wherry.runtime.launch.user_namespace import adopt_orphans
from wherry.runtime.plan import OtherRuntime, Plan
from wherry.runtime.report import EXECUTED, NOT_YET, Born, Failed
from wherry.runtime.steps.other_runtime import RunRuntime, WriteForRuntime

RUNTIME = Runtime("kata", "/opt/kata", ("--debug",), "/state")
OVERLAY = Mount(destination="/", type="overlay", options=("lowerdir+=/l", "upperdir=/u", "workdir=/w"))
TMPFS = Mount(destination="/tmp", type="tmpfs", source="tmpfs")


def spec(**changes: Any) -> Spec:
    linux = {"namespaces": (Namespace(type="mount"),), "cgroups_path": "/g/c", **changes.pop("linux", {})}
    process = {"cwd": "/", "args": ("sh",), "user": User(username="ann"), **changes.pop("process", {})}
    fields: dict[str, Any] = {"root": Root(path="/run/rootfs"), "mounts": (OVERLAY, TMPFS), **changes}
    return Spec(process=Process(**process), linux=Linux(**linux), **fields)


def compiled(found: Spec, init_program: str = "") -> Plan:
    return compile_other(
        found, container_id="c1", runtime=RUNTIME, directory="/b", console="/run/tty", init_program=init_program
    )


def step(plan: Plan, kind: type) -> Any:
    (one,) = [step for step in plan.steps if isinstance(step, kind)]
    return one


def test_the_runtime_gets_a_bundle_without_what_is_ours() -> None:
    seccomp = Seccomp(default_action="SCMP_ACT_ALLOW", keeps_projects=True)
    found = compiled(spec(annotations={"org.wherry.groups": "x", "a": "b"}, linux={"seccomp": seccomp}))
    assert Plan.decode(found.encode()) == found
    assert all(one.describe() for one in found.steps)
    assert found.namespaces == CLONE.NEWNS
    written = json.loads(step(found, WriteForRuntime).document)
    assert written["annotations"] == {"a": "b"}
    assert [mount["destination"] for mount in written["mounts"]] == ["/tmp"]
    assert "username" not in written["process"]["user"]
    assert list(written["linux"]["seccomp"]) == ["defaultAction"]
    commands = step(found, RunRuntime)
    begin = ("/opt/kata", "--debug", "--root", "/state", "--log", "/b/log", "--log-format", "json")
    assert commands.command == (*begin, "create", "--bundle", "/b", "--pid-file", "/b/pid", "c1")
    assert commands.start == (*begin, "start", "c1")
    assert found.other is not None
    assert found.other.removal == ("/opt/kata", "--debug", "--root", "/state", "delete", "--force", "c1")


def test_a_terminal_comes_by_a_socket() -> None:
    found = compiled(spec(process={"terminal": True}))
    assert step(found, RunRuntime).command[-3:] == ("--console-socket", "/run/tty", "c1")
    assert found.other is not None
    assert found.other.console == "/run/tty"


def test_an_exec_is_a_process_in_a_file() -> None:
    found = compile_other_exec(
        Process(cwd="/", args=("ls",), user=User(username="ann")), container_id="c1", pid=os.getpid(), spec=spec(),
        runtime=RUNTIME, directory="/b", name="e1", console="/run/tty",
    )  # fmt: skip
    command = step(found, RunRuntime).command
    assert command[-7:] == ("exec", "--detach", "--process", "/b/e1-process.json", "--pid-file", "/b/e1-pid", "c1")
    assert step(found, RunRuntime).start == ()
    assert json.loads(step(found, WriteForRuntime).document)["args"] == ["ls"]


@pytest.mark.parametrize(
    "changes",
    [
        {"linux": {"namespaces": (Namespace(type="mount"), Namespace(type="user"))}},
        {"mounts": (OVERLAY, Mount(destination="/v", type="bind", source="/v", options=("bind", "own")))},
        {"mounts": (OVERLAY, Mount(destination="/v", type="overlay", options=("org.wherry.selector=x",)))},
    ],
)
def test_what_only_our_runtime_knows_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="wherry's own runtime"):
        compiled(spec(**changes))
    with pytest.raises(InvalidInput, match="absolute"):
        compiled(spec(process={"cwd": "x"}))


def test_an_init_process_is_a_program_that_is_mounted(tmp_path: Path) -> None:
    program = tmp_path / "an-init"
    wanted = spec(annotations={"org.wherry.init": "true"})
    with pytest.raises(Unsupported, match=r"an-init\": executable file not found in \$PATH"):
        compiled(wanted, str(program))
    program.touch(0o755)
    written = json.loads(step(compiled(wanted, str(program)), WriteForRuntime).document)
    assert written["process"]["args"] == ["/sbin/docker-init", "--", "sh"]
    mounted = {"destination": "/sbin/docker-init", "type": "bind", "source": str(program), "options": ["bind", "ro"]}
    assert written["mounts"][-1] == mounted
    assert "annotations" not in written


# ---------------------------------------------------------------------------------------------------------- the parent


class Talk:
    """The parent's view, and the end on which the runtime's shell speaks."""

    def __init__(self, directory: Path, *, starts: bool) -> None:
        ours, self.theirs = make()
        pid, pidfd = clone(0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        assert pidfd is not None
        self.directory = directory
        other = OtherRuntime("kata", str(directory / "pid"), str(directory / "log"), "", starts, "/g/c", ())
        self.launched = OtherLaunched(pid, pidfd, ours, other)

    def says(self, done: str, code: int) -> Any:
        self.theirs.send(json.dumps({"done": done, "code": code}, separators=(",", ":")).encode())
        return self.launched.report()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path, starts=True)
    yield made
    adopt_orphans(False)
    made.launched.close()
    made.launched.pidfd.close()
    made.theirs.close()


def test_the_containers_process_takes_the_place_of_the_shell(talk: Talk) -> None:
    assert talk.launched.report() is NOT_YET
    (talk.directory / "pid").write_text(str(os.getpid()))
    born = talk.says("first", 0)
    assert isinstance(born, Born)
    assert (born.pid, talk.launched.pid) == (os.getpid(), os.getpid())
    talk.theirs.setblocking(False)
    assert talk.theirs.recv(10) == b"\n", "it may start now"
    assert talk.launched.report() is NOT_YET
    assert talk.says("start", 0) == EXECUTED


def test_what_the_runtime_logs_is_the_reason(talk: Talk) -> None:
    lines = ['{"level":"warning","msg":"w"}', "garbage", '{"level":"error","msg":"no such file or directory"}', "[]"]
    (talk.directory / "log").write_text("\n".join(lines))
    failed = talk.says("first", 1)
    assert isinstance(failed, Failed)
    assert (failed.text, failed.kind) == ("no such file or directory", "command-not-found")
    assert "kata" in failed.step


@pytest.mark.parametrize(("text", "expected"), [(None, "No such file"), ("x", "invalid literal"), ("-1", "process")])
def test_a_runtime_that_does_not_tell_the_process_has_failed(talk: Talk, text: str | None, expected: str) -> None:
    if text is not None:
        (talk.directory / "pid").write_text(text)
    failed = talk.says("first", 0)
    assert isinstance(failed, Failed)
    assert expected in failed.text


@pytest.mark.parametrize("said", [b'{"done"', b'{"done":"first"}', b'{"done":"first","code":"x"}', b'{"done"\xff'])
def test_what_makes_no_sense_is_a_failure(talk: Talk, said: bytes) -> None:
    talk.theirs.send(said)
    failed = talk.launched.report()
    assert isinstance(failed, Failed)
    assert "makes no sense" in failed.text


def test_a_runtime_that_was_killed_has_failed(talk: Talk) -> None:
    talk.theirs.shutdown(socket.SHUT_RDWR)
    failed = talk.launched.report()
    assert isinstance(failed, Failed)
    assert failed.text == "it was killed"
