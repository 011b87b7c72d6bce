"""What ``--platform`` may be: the command line refuses what the daemon refuses, in the same words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli.flags.platforms import check_platform, platform_of
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform

WORDS = (
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 windows "
    "zos 386 amd64 amd64p32 arm arm64 arm64be armbe loong64 mips mips64 mips64le mips64p32 mips64p32le mipsle ppc "
    "ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm aarch64 armel armhf i386 x86-64 x86_64 LINUX Amd64 v7"
).split()
pieces = st.sampled_from(WORDS) | st.text(alphabet="abz09_.-+ é", max_size=4)


@given(st.lists(pieces, min_size=1, max_size=4).map("/".join))
def test_the_command_line_and_the_daemon_refuse_the_same(text: str) -> None:
    assert refusal_of(check_platform, text) == refusal_of(Platform.parse, text)


@pytest.mark.parametrize("text", WORDS)
def test_a_single_word_is_a_system_or_an_architecture_to_both(text: str) -> None:
    try:
        found = Platform.parse(text)
    except InvalidInput:
        with pytest.raises(InvalidInput):
            platform_of(text)
    else:
        said = platform_of(text)
        assert said is not None
        assert (said["os"], said["architecture"]) == (found.os, found.architecture)


def refusal_of(read: Callable[[str], object], text: str) -> str:
    """How a text is refused; empty when it is taken, as nothing at all is."""
    try:
        if text:
            read(text)
    except InvalidInput as refusal:
        return str(refusal)
    return ""
