"""Devices by name (CDI): a container gets what the operator's files say, and a name leads nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need
from support.processes import wait_for

pytestmark = need("root", "busybox", "overlay", "namespaces")

DEVICE = "vendor.com/class=full"


HOOK = """#!/bin/sh
set -e
state=$(cat)
bundle=${state#*'"bundle":"'} bundle=${bundle%%'"'*}
config=$(cat "$bundle/config.json")
root=${config#*'"root":{"path":"'} root=${root%%'"'*}
echo "$0 $* $VENDOR $(stat -c %a "$bundle/config.json")" >"$root/from-the-hook"
"""


def hooks(directory: Path) -> dict[str, dict[str, Any]]:
    """Hooks of devices: one that does as vendors' do, and some that go wrong."""
    (directory / "hook").write_text(HOOK)
    (directory / "hook").chmod(0o755)
    inside = {"hookName": "createContainer", "path": str(directory / "hook")}
    return {
        "hooked": {**inside, "args": ["hook", "an argument"], "env": ["VENDOR=vendor", "PATH=/usr/bin:/bin"]},
        "failing": {**inside, "path": "/bin/false"},
        "slow": {**inside, "path": "/bin/sleep", "args": ["sleep", "600"], "timeout": 1},
        "outside": {"hookName": "createRuntime", "path": "/bin/false"},
    }


KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hooks_of_each_kind(directory: Path) -> list[dict[str, Any]]:
    """Each says where it runs; the one that is run in the container is a program of the container's."""
    (directory / "witness").write_text(
        f'#!/bin/sh\ncat >/dev/null\necho "$1 $(readlink /proc/self/ns/mnt)" >>{directory}/seen\n'
    )
    (directory / "witness").chmod(0o755)
    found = [{"hookName": kind, "path": str(directory / "witness"), "args": ["witness", kind]} for kind in KINDS]
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; grep CapEff /proc/self/status >/started"]}
    return [{**one, **inside} if one["hookName"] == "startContainer" else one for one in found]


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory, busybox_archive: bytes) -> Iterator[Daemon]:
    """A daemon of a machine with a device."""
    directory = tmp_path_factory.mktemp("cdi")
    (directory / "driver").write_text("driver")
    edits = {
        "env": ["DEVICE=full", "PATH=/opt:/bin"],
        "deviceNodes": [{"path": "/dev/vendor/full", "hostPath": "/dev/full", "permissions": "rw"}],
        "mounts": [
            {"hostPath": str(directory / "driver"), "containerPath": "/opt/driver", "options": ["ro", "rbind"]},
        ],
        "additionalGids": [4711],
    }
    devices = [
        {"name": "full", "containerEdits": edits},
        *({"name": name, "containerEdits": {"hooks": [hook]}} for name, hook in hooks(directory).items()),
        {"name": "each", "containerEdits": {"hooks": hooks_of_each_kind(directory)}},
    ]
    text = json.dumps({"cdiVersion": "0.7.0", "kind": "vendor.com/class", "devices": devices})
    (directory / "vendor.json").write_text(text)
    (directory / "broken.yaml").write_text("kind: [")
    with busybox_daemon(busybox_archive, "--cdi-spec-dir", str(directory)) as daemon:
        yield daemon
        daemon.remove_containers()


LOOK = (
    "echo $DEVICE $PATH; id -G; cat /opt/driver; echo; stat -c %t:%T /dev/vendor/full; "
    "head -c 3 /dev/vendor/full | wc -c; echo x > /dev/vendor/full; echo x > /opt/driver"
)


def test_a_container_gets_all_that_a_device_brings_along(equipped: Daemon) -> None:
    done = equipped.cli("run", "--rm", "--network", "none", "--device", DEVICE, "busybox", "sh", "-c", LOOK)
    assert done.stdout.split() == ["full", "/opt:/bin", "0", "4711", "driver", "1:7", "3"], done.stderr
    assert "No space left" in done.stderr
    assert "Read-only file system" in done.stderr


def test_without_its_name_nothing_of_it_is_there(equipped: Daemon) -> None:
    command = 'mknod /x c 1 7; cat /opt/driver; echo "$DEVICE"'
    done = equipped.cli("run", "--rm", "--network", "none", "busybox", "sh", "-c", command)
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    "name",
    ["vendor.com/class=none", "vendor.com/class=../../full", "vendor.com/../class=full", "../vendor.json=full",
     "vendor.com/class=full\n", "vendor.com/class=*", "vendor.com/class", "vendor.com/class=full?"],
)  # fmt: skip
def test_a_name_is_looked_up_and_is_no_path(equipped: Daemon, name: str) -> None:
    host = {"NetworkMode": "none", "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": [name]}]}
    made = equipped.request("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host})
    assert made.status == 201
    answer = equipped.request("POST", f"/containers/{made.json['Id']}/start")
    assert answer.status == 500
    assert "CDI device injection failed: unresolvable CDI devices" in answer.message


def test_info_tells_of_devices_and_mistakes(equipped: Daemon) -> None:
    info = equipped.request("GET", "/info").json
    assert {"Source": "cdi", "ID": DEVICE} in info["DiscoveredDevices"]
    assert any("broken.yaml" in warning for warning in info["Warnings"])
    assert "DiscoveredDevices" not in equipped.request("GET", "/v1.49/info").json


def test_a_hook_finds_the_containers_files_and_the_container_nothing_of_the_hooks(equipped: Daemon) -> None:
    run = ("run", "--rm", "--network", "none", "--name", "hooked", "--device", "vendor.com/class=hooked", "busybox")
    look = (
        "cat /from-the-hook; echo $VENDOR; ls /proc/self/fd | wc -w; ls -d /run/wherry /proc/1/root/run/* 2>&1 | wc -l"
    )
    done = equipped.cli(*run, "sh", "-c", look)
    shown = done.stdout.splitlines()
    assert shown[0].endswith("/hook an argument vendor 600"), done.stderr
    assert shown[1] == ""
    assert int(shown[2]) == 4  # 0, 1, 2 and the directory itself


def test_hooks_of_each_kind_run_where_they_belong(equipped: Daemon) -> None:
    """The host's programs outside, or before all is the container's; its own with no more than its rights."""
    flags = ("--network", "none", "--name", "each", "--device", "vendor.com/class=each")
    equipped.cli("run", "-d", *flags, "busybox", "sleep", "1000", check=True)
    rights = equipped.cli("exec", "each", "grep", "-h", "CapEff", "/started", "/proc/1/status", check=True)
    seen = file_of_hooks(equipped).read_text
    before = seen()
    equipped.cli("rm", "-f", "each", check=True)
    wait_for(lambda: "poststop" in seen())
    assert len(set(rights.stdout.split())) == 2, rights.stdout
    places = dict(line.split() for line in seen().splitlines())
    assert list(places) == ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    assert "poststop" not in before
    assert places["createContainer"] not in {places["createRuntime"], places["poststart"], places["poststop"]}


def file_of_hooks(daemon: Daemon) -> Path:
    return Path(daemon.flags[daemon.flags.index("--cdi-spec-dir") + 1], "seen")


def seen_by_hooks(daemon: Daemon) -> list[str]:
    """The kinds of the hooks that were run since the last call."""
    file = file_of_hooks(daemon)
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [line.split()[0] for line in lines]


def seen_up_to_the_last(daemon: Daemon) -> list[str]:
    """The same, when the last one has been run, which nobody waits for."""
    wait_for(lambda: "poststop" in file_of_hooks(daemon).read_text())
    return seen_by_hooks(daemon)


def kept_by_the_runtime(daemon: Daemon) -> list[str]:
    state = Path(daemon.exec_root, "runtimes", "wherry-oci")
    return sorted(path.name for path in state.iterdir()) if state.exists() else []


def test_a_container_with_hooks_outside_of_it_has_an_init_process_if_it_wants_one(equipped: Daemon) -> None:
    """Its first process is no program of the host's, and reaps orphans."""
    flags = ("--rm", "--network", "none", "--init", "--device", "vendor.com/class=each", "--group-add", "29")
    orphans = "for n in 1 2 3; do (sleep 0.1 & :) ; done; sleep 0.3; echo $$; ls -d /proc/[0-9]* | wc -l; id -G; exit 7"
    seen_by_hooks(equipped)
    done = equipped.cli("run", *flags, "busybox", "sh", "-c", orphans)
    assert (done.returncode, done.stderr) == (7, ""), done
    number, processes, groups = done.stdout.splitlines()
    assert int(number) > 1
    assert int(processes) == 4  # the first one, the shell, and the two of the pipe
    assert groups == "0 29"
    assert seen_up_to_the_last(equipped) == ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]


def test_a_step_whose_device_has_hooks_of_each_kind(equipped: Daemon, tmp_path: Path) -> None:
    """They are run around the step as around a container, also of one that fails."""
    step = "FROM busybox\nRUN --device=vendor.com/class=each,required "
    (tmp_path / "Dockerfile").write_text(
        step + "grep -q CapEff /started && echo seen && touch /made\nRUN test -e /made\n"
    )
    seen_by_hooks(equipped)
    done = equipped.cli("build", "--progress", "plain", "--allow", "device", str(tmp_path))
    assert done.returncode == 0, done.stderr
    all_kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    assert seen_up_to_the_last(equipped) == all_kinds
    (tmp_path / "Dockerfile").write_text(step + "echo no; exit 7\n")
    failed = equipped.cli("build", "--progress", "plain", "--allow", "device", str(tmp_path))
    assert "exit code: 7" in failed.stderr
    assert seen_up_to_the_last(equipped) == all_kinds
    (tmp_path / "Dockerfile").write_text(step.replace("=each", "=outside") + "true\n")
    refused = equipped.cli("build", "--progress", "plain", "--allow", "device", str(tmp_path))
    assert "createRuntime hook #0: '/bin/false': exit status 1" in refused.stderr
    wait_for(lambda: not kept_by_the_runtime(equipped))


def test_a_step_with_hooks_that_a_killed_daemon_has_left_is_ended_with_its_hooks(
    equipped: Daemon, tmp_path: Path
) -> None:
    seen_by_hooks(equipped)
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN --device=vendor.com/class=each,required sleep 1000\n")
    command = [sys.executable, "-m", "wherry.cli.main", "-H", equipped.host, "build", "--allow", "device"]
    seen = file_of_hooks(equipped)
    with subprocess.Popen([*command, str(tmp_path)], stderr=subprocess.DEVNULL) as client:
        wait_for(lambda: seen.exists() and "poststart" in seen.read_text())
        equipped.kill9()
        client.wait(30)
    equipped.start()
    assert seen_up_to_the_last(equipped)[-1] == "poststop"
    wait_for(lambda: not kept_by_the_runtime(equipped))


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("failing", "createContainer hook #0: '/bin/false': exit status 1"),
        ("slow", "createContainer hook #0: '/bin/sleep' did not end within 1 sec"),
        ("outside", "createRuntime hook #0: '/bin/false': exit status 1"),
    ],
)
def test_a_hook_that_fails_is_the_end_of_the_start_and_nothing_is_left(
    equipped: Daemon, device: str, sentence: str
) -> None:
    run = ("run", "--network", "none", "--name", "never", "--device", f"vendor.com/class={device}", "busybox", "true")
    done = equipped.cli(*run)
    assert sentence in done.stderr
    assert equipped.request("GET", "/containers/never/json").json["State"]["Status"] == "created"
    equipped.cli("rm", "never", check=True)


def test_a_step_gets_a_device_when_its_build_may_have_it(equipped: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN --device=vendor.com/class=hooked,required grep -q vendor /from-the-hook\n"
        f'RUN --device={DEVICE},required test "$DEVICE" = full && test -c /dev/vendor/full && cat /opt/driver\n'
        'RUN --device=vendor.com/other echo went on && test ! -e /opt/driver/x && test -z "$DEVICE"\n'
    )
    refused = equipped.cli("build", "--progress", "plain", str(tmp_path))
    assert refused.returncode != 0
    assert "device is not allowed" in refused.stderr + refused.stdout
    done = equipped.cli("build", "--progress", "plain", "--allow", "device", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN --device=vendor.com/none,required true\n")
    missing = equipped.cli("build", "--progress", "plain", "--allow", "device", str(tmp_path))
    assert 'required device "vendor.com/none" is not registered' in missing.stderr + missing.stdout
