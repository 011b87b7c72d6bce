"""The trampoline: its listing is what an assembler makes of it, and it carries out a script as it is written down."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from wherry.errors import Unsupported
from wherry.linux import elf, vfork_code
from wherry.linux._libc import ARCHITECTURE
from wherry.runtime.steps import trampoline, trampoline_code
from wherry.runtime.steps.birth import newborn_of
from wherry.runtime.steps.trampoline import (
    BE_INIT,
    ERROR,
    GIVE_UP,
    NAME,
    TELL,
    Branch,
    Call,
    Hole,
    Words,
    assemble,
    fill,
)
from wherry.runtime.steps.trampoline_code import machine_code
from wherry.startup import machine_code as startup_code

ASSEMBLERS = {"x86_64": ("as", "objcopy"), "aarch64": ("aarch64-linux-gnu-as", "aarch64-linux-gnu-objcopy")}
HOST = os.uname().machine


@pytest.mark.parametrize("code", [trampoline_code, vfork_code, startup_code], ids=lambda code: code.__name__)
@pytest.mark.parametrize("architecture", ASSEMBLERS)
def test_the_bytes_are_what_an_assembler_makes_of_the_words(
    code: ModuleType, architecture: str, tmp_path: Path
) -> None:
    if architecture not in code.LISTINGS:
        pytest.skip(f"not written for {architecture}")
    assembler, copy = ASSEMBLERS[architecture]
    if not shutil.which(assembler) or (assembler == "as" and HOST != "x86_64"):
        pytest.skip(f"no assembler for {architecture} here")
    text = [line[26:] if line.startswith("  ") else line for line in code.LISTINGS[architecture].splitlines()]
    source = "\n".join(line.partition("  # ")[0] for line in text) + "\n"
    syntax = ".intel_syntax noprefix\n" if architecture == "x86_64" else ""
    (tmp_path / "code.s").write_text(syntax + source)
    subprocess.run([assembler, "-o", "code.o", "code.s"], cwd=tmp_path, check=True)
    subprocess.run([copy, "-O", "binary", "-j", ".text", "code.o", "code"], cwd=tmp_path, check=True)
    made = (tmp_path / "code").read_bytes()
    expected = code.machine_code(architecture)
    assert made[: len(expected)] == expected
    assert not made[len(expected) :].strip(b"\0\x90\x66\x0f\x1f\x84\x2e")


def test_an_architecture_without_code_is_refused() -> None:
    with pytest.raises(Unsupported, match="riscv"):
        machine_code("riscv64")


def file_of(script: Branch, name: bytes = b"", **holes: bytes) -> bytes:
    pieces = elf.executable(machine_code(), fill(assemble(script, name=name), **holes))
    whole = bytearray(max(offset + len(piece) for offset, piece in pieces))
    for offset, piece in pieces:
        whole[offset : offset + len(piece)] = piece
    return bytes(whole)


def run(directory: Path, script: Branch, **holes: bytes) -> subprocess.CompletedProcess[bytes]:
    """Carry out a script in a process of its own."""
    program = directory / "trampoline"
    program.write_bytes(file_of(script, **holes))
    program.chmod(0o755)
    return subprocess.run([str(program)], capture_output=True, check=False, timeout=20, env={})


pytestmark = pytest.mark.skipif(ARCHITECTURE not in trampoline_code.LISTINGS, reason="no code for this architecture")


def say(text: bytes) -> Call:
    return Call("writev", (1, Words((text, len(text))), 1))


def test_entries_are_carried_out_in_their_order(tmp_path: Path) -> None:
    done = run(tmp_path, (say(b"one "), say(b"two "), say(b"one "), Call("exit_group", (7,))))
    assert (done.returncode, done.stdout) == (7, b"one two one ")


def test_a_failure_that_does_not_matter_is_passed_over(tmp_path: Path) -> None:
    done = run(tmp_path, (Call("close", (77,)), Call("exit_group", (0,))))
    assert done.returncode == 0


def test_a_failure_leads_to_what_is_to_be_done_then(tmp_path: Path) -> None:
    rescue = (Call("writev", (1, Words((ERROR, 8)), 1)), Call("exit_group", (3,)))
    done = run(tmp_path, (Call("close", (77,), rescue), say(b"never"), Call("exit_group", (0,))))
    assert (done.returncode, done.stdout) == (3, struct.pack("=II", 0, 9))  # EBADF


def test_giving_up_tells_the_error_by_the_exit_code(tmp_path: Path) -> None:
    assert run(tmp_path, (Call("execve", (b"/nowhere\0", Words((0,)), Words((0,))), (Call(GIVE_UP),)),)).returncode == 2


def test_a_program_is_executed_with_its_words(tmp_path: Path) -> None:
    code = b"import os, sys; print(sys.argv[1:], dict(os.environ).get('A'))\0"
    program = os.fsencode(sys.executable) + b"\0"
    words = Words((program, b"-I\0", b"-c\0", code, b"x y\0", b"\xff\0", 0))
    done = run(tmp_path, (Call("execve", (program, words, Words((b"A=b=c\0", 0))), (Call(GIVE_UP),)),))
    assert done.stdout == b"['x y', '\\udcff'] b=c\n"


def test_holes_are_filled_with_what_is_known_later(tmp_path: Path) -> None:
    arguments = Words((b"sh\0", b"-c\0", b"echo $A $B\0", 0))
    script = (Call("execve", (Hole("program"), arguments, Words((b"A=1\0", Hole("more"), 0))), (Call(GIVE_UP),)),)
    assert run(tmp_path, script, program=b"/bin/sh\0", more=b"B=2\0").stdout == b"1 2\n"
    assert run(tmp_path, script, program=b"/bin/sh\0").stdout == b"1\n"
    assert run(tmp_path, script).returncode == 14  # EFAULT: there is no program


def test_a_child_goes_its_own_way(tmp_path: Path) -> None:
    child = (say(b"child "), Call("exit_group", (0,)))
    parent = (Call("wait4", (-1, 0, 0, 0)), say(b"parent"), Call("exit_group", (0,)))
    done = run(tmp_path, (Call("clone", (int(signal.SIGCHLD),), (Call(GIVE_UP),), child), *parent))
    assert (done.returncode, done.stdout) == (0, b"child parent")


def init(*program: Call) -> Branch:
    everything = b"\xff" * 8
    child = (
        Call("rt_sigtimedwait", ((1 << signal.SIGUSR1 - 1).to_bytes(8, "little"), 0, 0, 8), trampoline.RETRY),
        Call("rt_sigprocmask", (signal.SIG_SETMASK, bytes(8), 0, 8)),
        *program,
    )
    return (
        Call("rt_sigprocmask", (signal.SIG_SETMASK, everything, 0, 8)),
        Call("clone", (int(signal.SIGCHLD),), (Call(GIVE_UP),), child),
        Call(BE_INIT, (everything,)),
    )


def shell(line: str) -> Call:
    words = Words((b"sh\0", b"-c\0", line.encode() + b"\0", 0))
    return Call("execve", (b"/bin/sh\0", words, Words((b"PATH=/bin:/usr/bin\0", 0))), (Call(GIVE_UP),))


@pytest.mark.parametrize(("line", "code"), [("exit 5", 5), ("exit 0", 0), ("kill -9 $$", 137), ("exit 255", 255)])
def test_init_ends_as_its_program_does(tmp_path: Path, line: str, code: int) -> None:
    assert run(tmp_path, init(shell(line))).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN])
def test_init_passes_signals_on(tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "init"
    own = f"{{{int(number)}}}"
    code = (  # not pause(), which sleeps for ever after a signal that came just before
        f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {own}); print('up', flush=True); "
        f"signal.sigwait({own}); exit(9)"
    )
    python = os.fsencode(sys.executable) + b"\0"
    words = Words((python, b"-I\0", b"-c\0", code.encode() + b"\0", 0))
    program.write_bytes(file_of(init(Call("execve", (python, words, Words((0,))), (Call(GIVE_UP),)))))
    program.chmod(0o755)
    with subprocess.Popen([str(program)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(20) == 9


def test_a_helper_tells_by_its_name_whom_it_has_made(tmp_path: Path) -> None:
    program = tmp_path / "helper"
    child = (Call("exit_group", (0,)),)
    script = (
        Call("clone", (int(signal.SIGCHLD),), (Call(GIVE_UP),), child),
        Call(TELL),
        Call("prctl", (15, NAME)),
        Call("exit_group", (0,)),
    )
    program.write_bytes(file_of(script, b"p:"))
    program.chmod(0o755)
    pid = os.posix_spawn(str(program), ["helper"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    newborn = newborn_of(pid)
    os.waitpid(pid, 0)
    assert newborn is not None
    assert not newborn.is_init
    assert newborn.pid > 1


def test_an_ordinary_name_tells_of_nobody() -> None:
    assert newborn_of(os.getpid()) is None
