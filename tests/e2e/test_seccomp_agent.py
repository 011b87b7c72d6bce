"""A profile of `--security-opt seccomp=` that leaves decisions to a program outside."""

from __future__ import annotations

import json
from pathlib import Path

from support.daemons import Daemon
from support.needs import need
from support.seccomp_agent import agent

pytestmark = need("root", "busybox", "overlay", "namespaces")


def test_a_program_outside_decides_about_calls_of_a_container_and_of_its_execs(
    daemon: Daemon, busybox: str, tmp_path: Path
) -> None:
    with agent(tmp_path) as answering:
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": answering.path, "syscalls": [rule]}
        path = tmp_path / "profile.json"
        path.write_text(json.dumps(profile))
        words = ("--network", "none", "--security-opt", f"seccomp={path}", "--name", "decided", busybox)
        assert daemon.cli("run", "-d", *words, "sleep", "1000").returncode == 0
        done = daemon.cli("exec", "decided", "sh", "-c", "mkdir /made && ls -d /made; ls /proc/self/fd | wc -l")
        assert (done.stdout, "No such file" in done.stderr) == ("4\n", True), done
        created, executed = answering.messages(2)
        assert created["state"]["id"] == executed["state"]["id"]
        daemon.cli("rm", "-f", "decided")
