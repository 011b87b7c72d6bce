"""``--platform os[/arch[/variant]]``, parsed and checked as containerd's clients do."""

from __future__ import annotations

import os

__all__ = ["check_platform", "platform_of"]

_SYSTEMS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 windows "
    "zos".split()
)
_ARCHITECTURES = frozenset(
    "386 amd64 amd64p32 arm arm64 arm64be armbe loong64 mips mips64 mips64le mips64p32 mips64p32le mipsle ppc ppc64 "
    "ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
_ALIASES = {
    "aarch64": "arm64", "armel": "arm", "armhf": "arm", "i386": "386", "x86-64": "amd64", "x86_64": "amd64",
}  # fmt: skip
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def platform_of(text: str, what: str = "invalid platform: ") -> dict[str, str] | None:
    """Parse a platform for the API; None when the text is empty.

    :param what: the beginning of the error message.
    :raises wherry.errors.InvalidInput: invalid platform.
    """
    if not text:
        return None
    parts = text.lower().split("/")
    for part in parts:
        if not part or not _LETTERS.issuperset(part):
            pattern = '"^[A-Za-z0-9_.-]+$"'
            reason = f'"{part}" is an invalid component of "{text}": platform specifier component must match {pattern}'
            raise _invalid(what, reason)
    if len(parts) > 3:
        raise _invalid(what, f'"{text}": cannot parse platform specifier')
    if len(parts) == 1:
        return _one(text, parts[0], what)
    return dict(zip(("os", "architecture", "variant"), parts, strict=False))


def check_platform(text: str, what: str = "") -> str:
    """Check a platform before any request is sent. :returns: the text."""
    platform_of(text, what)
    return text


def _one(text: str, part: str, what: str) -> dict[str, str]:
    """An operating system alone implies this machine's architecture; an architecture alone implies Linux."""
    if part in _SYSTEMS:
        machine = os.uname().machine
        return {"os": part, "architecture": _ALIASES.get(machine, machine)}
    architecture = _ALIASES.get(part, part)
    if architecture not in _ARCHITECTURES:
        raise _invalid(what, f'"{text}": unknown operating system or architecture')
    return {"os": "linux", "architecture": architecture}


def _invalid(what: str, reason: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(f"{what}{reason}: invalid argument")
