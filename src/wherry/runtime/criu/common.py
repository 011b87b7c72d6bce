"""What a checkpoint and a restoration are asked for alike."""

from __future__ import annotations

from typing import Final, NamedTuple

from wherry.runtime.criu.messages import Options
from wherry.runtime.criu.session import PATIENCE, network_lock

__all__ = ["CGROUP_MODES", "EMPTY_NAMESPACES", "Common"]

#: ``criu_cg_mode`` by runc's words.
CGROUP_MODES: Final = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
#: Namespaces of which nothing but their being there is kept: word to ``CLONE_NEW*``.
EMPTY_NAMESPACES: Final = {"network": 0x40000000}
_EVERYTHING: Final = 4


class Common(NamedTuple):
    """How it is to be done; the names are those of runc's flags.

    :ivar images: the directory of the image; ``work``: that of criu's log, empty for the same.
    :ivar empty: mask of namespaces that are not written down, and made empty.
    :ivar criu: the program; empty to look for it.
    :ivar patience: seconds in which it has to write something.
    """

    images: str
    work: str = ""
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    auto_dedup: bool = False
    cgroup_mode: str = "soft"
    empty: int = 0
    criu: str = ""
    patience: float = PATIENCE

    @property
    def work_directory(self) -> str:
        """The directory of criu's log."""
        return self.work or self.images

    def options(self, log: str) -> Options:
        """The options that both have.

        :param log: name of criu's log.
        """
        return Options(
            log_level=_EVERYTHING,
            log_file=log,
            notify_scripts=True,
            tcp_established=self.tcp_established,
            ext_unix_sk=self.ext_unix_sk,
            shell_job=self.shell_job,
            file_locks=self.file_locks,
            auto_dedup=self.auto_dedup,
            manage_cgroups=True,
            manage_cgroups_mode=CGROUP_MODES[self.cgroup_mode],
            empty_ns=self.empty,
            network_lock=network_lock(),
        )
