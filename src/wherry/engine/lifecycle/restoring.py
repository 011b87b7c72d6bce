"""How a container comes out of a checkpoint: the keeper runs ``wherry-oci restore``, as it runs other runtimes.

The container's process becomes the keeper's child; from then on it is a container like others.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from wherry.engine.lifecycle.other_runtimes import own_command, passed_on
from wherry.oci.runtime_spec import Spec, encode
from wherry.runtime.plan import OtherRuntime, Plan
from wherry.runtime.steps.namespaces import AwaitParent
from wherry.runtime.steps.other_runtime import RunRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.engine.container.container import Container

__all__ = ["LOGS", "restore_plan"]

#: Below a container's directory: the directory of criu's last logs.
LOGS: Final = "criu"


def restore_plan(container: Container, spec: Spec, images: Path, console: str) -> Plan:
    """How the keeper has a container restored: by the command, whose child becomes the keeper's.

    :param images: the directory of the checkpoint.
    :param console: path of a socket to be made, for a terminal.
    """
    bundle = container.run_directory / "restored"
    bundle.mkdir(0o700, exist_ok=True)
    logs = container.directory / LOGS
    logs.mkdir(0o700, exist_ok=True)
    with open(bundle / "config.json", "wb", opener=_private) as file:
        file.write(encode(spec))
    pid_file, log = str(bundle / "restore-pid"), str(bundle / "restore-log")
    terminal = container.has_terminal
    command = own_command(bundle / "state").command(
        "restore",
        *("--bundle", str(bundle), "--image-path", str(images), "--work-path", str(logs), "--pid-file", pid_file),
        *("--tcp-established", "--tcp-close", "--ext-unix-sk", "--file-locks", "--detach"),
        *(("--console-socket", console) if terminal else ()),
        container.id,
        log=log,
    )
    return Plan(
        other=OtherRuntime(
            "criu", pid_file, log, console if terminal else "", starts=False,
            cgroup=spec.linux.cgroups_path if spec.linux else "", removal=(),
        ),
        steps=(AwaitParent(), RunRuntime(command, (), passed_on())),
    )  # fmt: skip


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
