"""Making it cheap to move a process into a cgroup of version 1.

The first move after a pause waits until every processor has passed a point of rest (an RCU grace period): 10 to 30
milliseconds, more than everything else about a container's start together. The mount option ``favordynmods`` (Linux
6.0) takes that wait away from the whole machine, at the price of forks and exits that take a lock the slower way,
which is hard to measure.

The option belongs to a hierarchy but acts on all. So it need not be set on the host's: one of our own, without
controllers and mounted nowhere, serves, for as long as somebody holds its descriptor. (Since Linux 6.18 the effect
stays until reboot.)

With version 2, a process is cloned into its cgroup and never moved, so that none of this matters.
"""

from __future__ import annotations

from wherry.errors import SystemCallError
from wherry.linux import mount
from wherry.linux.fd import Fd

__all__ = ["keep_moves_fast"]


def keep_moves_fast(name: str = "wherry") -> Fd | None:
    """Make moves between cgroups of version 1 fast, on the whole machine. It takes about 10 milliseconds.

    :param name: of the hierarchy; everybody sees it in /proc/<pid>/cgroup, as ``name=wherry``.
    :returns: the descriptor to hold; None if the kernel lacks the option, or version 1 altogether.
    """
    try:
        with mount.fsopen("cgroup") as context:
            mount.fsconfig_flag(context, "none")
            mount.fsconfig_string(context, "name", name)
            mount.fsconfig_flag(context, "favordynmods")
            mount.fsconfig_create(context)
            return mount.fsmount(context)
    except SystemCallError:
        return None  # moves are slower, and all else is the same
