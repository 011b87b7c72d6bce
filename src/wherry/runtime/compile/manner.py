"""How a container comes to its program when a command, and not the keeper, starts it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KEEPERS", "Manner"]


class Manner(NamedTuple):
    """What the command line of an OCI runtime asks for beside the specification.

    :param waits: the process waits, between ``create`` and ``start``.
    :param apart: it is executed by the trampoline in any case, so that a program that is executed by way of
        ``/proc/self/exe`` finds no interpreter of the host's there (CVE-2019-5736).
    :param preserved: how many further descriptors the program gets.
    :param keyring: whether the process gets a session keyring of its own.
    :param pivot: False moves the root over the host's instead, for hosts whose root cannot be exchanged.
    :param grouped: whether the container has a control group; otherwise its processes stay in that of whoever makes it.
    :param state: the container's state for hooks, as JSON with ``@PID@`` in it; None if hooks are not run.
    """

    waits: bool = False
    apart: bool = False
    preserved: int = 0
    keyring: bool = True
    pivot: bool = True
    grouped: bool = True
    state: bytes | None = None


#: The keeper's own manner.
KEEPERS = Manner()
