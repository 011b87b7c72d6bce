"""One call of the command: what its global flags say."""

from __future__ import annotations

import os

from wherry.errors import InvalidInput
from wherry.linux.proc import in_first_user_namespace
from wherry.ociruntime.flags import FALSE, TRUE
from wherry.ociruntime.messages import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.ociruntime.flags import Flags

__all__ = ["GLOBAL_FLAGS", "Call", "one_argument"]

GLOBAL_FLAGS = {
    "root": True,
    "log": True,
    "log-format": True,
    "systemd-cgroup": False,
    "cgroup-manager": True,
    "rootless": True,
    "criu": True,
    "debug": False,
    "version": False,
    "help": False,
}


class Call:
    """What its global flags say.

    :ivar root: the directory of the containers' directories; absolute.
    :ivar systemd: whether systemd manages the control groups.
    :ivar groups: whether containers get control groups: not with ``--cgroup-manager disabled``, which is crun's.
    :ivar criu: the program criu; empty to look for it.
    """

    def __init__(self, flags: Flags) -> None:
        self.root = os.path.abspath(flags.text("root") or _default_root())
        form = flags.text("log-format", "text")
        path = flags.text("log")
        self.log = Log(os.path.abspath(path) if path else "", as_json=form == "json", debug=flags.is_on("debug"))
        self._form = form
        self._manager = flags.text("cgroup-manager", "cgroupfs")
        self.systemd = flags.is_on("systemd-cgroup") or self._manager == "systemd"
        self.groups = self._manager != "disabled"
        self._rootless = flags.text("rootless", "auto")
        self.criu = flags.text("criu")

    def check(self) -> None:
        """Refuse values that are none.

        :raises InvalidInput: what that is.
        """
        if self._form not in ("text", "json"):
            raise InvalidInput(f"invalid log format {self._form!r}")
        if self._rootless not in {"", "auto", *TRUE, *FALSE}:
            raise InvalidInput(f"invalid value {self._rootless!r} of --rootless")
        try:
            self.log.check()
        except OSError as error:
            raise InvalidInput(f"the log cannot be opened: {error.strerror}") from None
        if self._manager not in ("cgroupfs", "systemd", "disabled"):
            raise InvalidInput(f"unknown cgroup manager {self._manager!r}")

    @property
    def is_rootless(self) -> bool:
        """Whether it acts for a user: one who is not root, or is so in a user namespace only.

        Such a one asks the user's own systemd, and does without a control group that may not be made.
        """
        if self._rootless in ("", "auto"):
            return os.geteuid() != 0 or not in_first_user_namespace()
        return self._rootless in TRUE


def _default_root() -> str:
    """Where containers are, by runc's rule: root of a user namespace that a user has made has the user's directory."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if own and (os.geteuid() != 0 or (os.environ.get("USER") != "root" and not in_first_user_namespace())):
        return f"{own}/wherry-oci"
    return "/run/wherry-oci"


def one_argument(arguments: list[str], verb: str) -> str:
    """Return a verb's only argument.

    :raises InvalidInput: there is none, or more.
    """
    if len(arguments) != 1:
        raise InvalidInput(f'"{verb}" requires exactly 1 argument(s)')
    return arguments[0]
