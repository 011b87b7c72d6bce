"""Intel's Resource Director Technology: a container's shares of caches and of memory bandwidth.

The kernel's interface is a file system, resctrl (Documentation/arch/x86/resctrl.rst): a directory in it is a class of
service, with a file of its shares, ``schemata``, and one of its processes, ``tasks``. Whoever mounted it
decides where; this module looks for it, or is told.

Source of the rules: the runtime specification's config-linux.md, "IntelRdt".
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemFault, Unsupported

__all__ = ["IntelRdt", "assign", "change", "clean_up", "join", "mounted", "remove"]

_SCHEMATA: Final = "schemata"


class IntelRdt(NamedTuple):
    """What a container asks for.

    :ivar group: the name of the class of service.
    :ivar shared: whether the specification named it; else it is the container's own, and goes with the container.
    :ivar schemata: lines to write, such as ``L3:0=7f0;1=1f``; none to leave the shares as they are.
    :ivar checked: how many of them, from the first, must agree with a class of service that exists.
    :ivar monitor: name of the group in which the use is counted apart; empty for none.
    """

    group: str
    shared: bool = False
    schemata: tuple[str, ...] = ()
    checked: int = 0
    monitor: str = ""


def mounted() -> str:
    """Return where resctrl is mounted.

    :raises Unsupported: nowhere.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        for line in mountinfo:
            before, _, after = line.partition(" - ")
            if after.startswith("resctrl "):
                return before.split(" ")[4]
    hint = "it takes a processor with RDT, and: mount -t resctrl resctrl /sys/fs/resctrl"
    raise Unsupported("intelRdt is asked for, and no resctrl file system is mounted", hint=hint)


def assign(wanted: IntelRdt, pid: int, top: str) -> None:
    """Put a process into its class of service, which is made where it is missing.

    :param top: where resctrl is mounted.
    :raises InvalidInput: the class does not exist and has no shares to be made with, it has others, or the kernel
        refuses the shares.
    """
    directory = f"{top}/{wanted.group}"
    made = _make(directory, wanted)
    try:
        for line in wanted.schemata:
            _write(f"{directory}/{_SCHEMATA}", line)
        _write(f"{directory}/tasks", str(pid))
        if wanted.monitor:
            counted = f"{directory}/mon_groups/{wanted.monitor}"
            _make_directory(counted)
            _write(f"{counted}/tasks", str(pid))
    except BaseException:
        if made:
            _remove_directory(directory)
        raise


def change(wanted: IntelRdt, lines: list[str], top: str) -> None:
    """Give a class of service other shares.

    :param lines: of its ``schemata``.
    :raises InvalidInput: the kernel refuses.
    """
    for line in lines:
        if not line or "\n" in line:
            raise InvalidInput(f"{line!r} is no line of schemata")
        _write(f"{top}/{wanted.group}/{_SCHEMATA}", line)


def join(wanted: IntelRdt, pid: int, top: str) -> None:
    """Put a further process of the container there."""
    directory = f"{top}/{wanted.group}"
    _write(f"{directory}/tasks", str(pid))
    if wanted.monitor:
        _write(f"{directory}/mon_groups/{wanted.monitor}/tasks", str(pid))


def remove(wanted: IntelRdt, top: str) -> None:
    """Remove what was made for the container; what others share stays."""
    directory = f"{top}/{wanted.group}"
    if wanted.monitor:
        _remove_directory(f"{directory}/mon_groups/{wanted.monitor}")
    if not wanted.shared:
        _remove_directory(directory)


def clean_up(wanted: IntelRdt) -> None:
    """Remove what was made for the container; nothing is left of it where resctrl is not mounted any more."""
    try:
        top = mounted()
    except Unsupported:
        return
    remove(wanted, top)


def _make(directory: str, wanted: IntelRdt) -> bool:
    """Make the class of service, or check the one that is there; whether it was made."""
    if wanted.shared and os.path.isdir(directory):
        _check_shares(directory, wanted)
        return False
    if wanted.shared and not wanted.schemata:
        raise InvalidInput(f"there is no class of service {wanted.group!r}, and no schemata to make it with")
    return _make_directory(directory)


def _check_shares(directory: str, wanted: IntelRdt) -> None:
    with open(f"{directory}/{_SCHEMATA}", encoding="ascii", errors="replace") as file:
        present = dict(_shares(file.read().splitlines()))
    for line in wanted.schemata[: wanted.checked]:
        for what, value in _shares([line]):
            if present.get(what) != value:
                raise InvalidInput(
                    f"the class of service {wanted.group!r} has other shares than {line!r}",
                    cause=f"{what[0]}:{what[1]} is {present.get(what, 'missing')}",
                )


def _shares(lines: list[str]) -> list[tuple[tuple[str, str], str]]:
    """Return ``("L3", "0"), "7f0"`` of each part of each line; zeros in front do not count."""
    found = []
    for line in lines:
        resource, _, values = line.strip().partition(":")
        for part in values.split(";"):
            domain, equals, value = part.strip().partition("=")
            if equals:
                found.append(((resource, domain.strip()), value.strip().lower().lstrip("0") or "0"))
    return found


def _make_directory(path: str) -> bool:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        hint = "the processor has no more classes" if error.errno == 28 else None  # ENOSPC
        raise SystemFault(f"cannot make {path!r}", cause=error.strerror, hint=hint) from error
    return True


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SystemFault(f"cannot remove {path!r}", cause=error.strerror) from error


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise InvalidInput(f"cannot write {text!r} to {path!r}", cause=error.strerror) from error
