"""Machine code for :mod:`wherry.linux.vfork`: make a process that shares this one's memory, and wait until it does not.

Called as a C function, with the arguments of clone3(2) and their size, the function that the new process calls, the
address of four numbers of four bytes each, the code that follows, and a descriptor, to which the last two numbers are
written as soon as there is a new process::

    0  the new process's ID, which the kernel sets to 0 when that has other memory or has ended
    4  1 when the function has returned
    8  the new process's ID
   12  0

Both are on the same stack. So the new process must not return from here, and the old one leaves the stack alone until
the other has gone. When the function returns 0 the code that follows is carried out, otherwise the process ends. If it
ended in the midst of the function, then what the function was changing is as it was at that moment: the old one ends.

The bytes were made by GNU as; a test assembles the text anew and compares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from wherry.linux._libc import ARCHITECTURE
from wherry.linux.listing import code_of

__all__ = ["LISTINGS", "machine_code"]

X86_64: Final = """
  53                      push rbx
  55                      push rbp
  41 54                   push r12
  41 55                   push r13
  41 56                   push r14                        # rsp is a multiple of 16 now, as calls want it
  48 89 d3                mov rbx, rdx
  49 89 cc                mov r12, rcx
  4d 89 c5                mov r13, r8
  b8 b3 01 00 00          mov eax, 435                    # clone3
  0f 05                   syscall
  48 85 c0                test rax, rax
  74 4b                   jz child
  78 40                   js out
  49 89 c6                mov r14, rax
  41 89 44 24 08          mov [r12+8], eax                # tell its number
  44 89 cf                mov edi, r9d
  49 8d 74 24 08          lea rsi, [r12+8]
  ba 08 00 00 00          mov edx, 8
  b8 01 00 00 00          mov eax, 1                      # write
  0f 05                   syscall
wait:
  41 8b 14 24             mov edx, [r12]
  85 d2                   test edx, edx
  74 11                   jz over
  4c 89 e7                mov rdi, r12
  31 f6                   xor esi, esi                    # FUTEX_WAIT
  45 31 d2                xor r10d, r10d                  # for as long as it takes
  b8 ca 00 00 00          mov eax, 202                    # futex
  0f 05                   syscall
  eb e7                   jmp wait
over:
  4c 89 f0                mov rax, r14
  41 83 7c 24 04 00       cmp dword ptr [r12+4], 0
  74 17                   je leave
out:
  41 5e                   pop r14
  41 5d                   pop r13
  41 5c                   pop r12
  5d                      pop rbp
  5b                      pop rbx
  c3                      ret
child:
  ff d3                   call rbx
  41 ff 44 24 04          inc dword ptr [r12+4]
  85 c0                   test eax, eax
  75 03                   jnz leave
  41 ff e5                jmp r13
leave:
  bf 01 00 00 00          mov edi, 1
  b8 e7 00 00 00          mov eax, 231                    # exit_group
  0f 05                   syscall
  0f 0b                   ud2
"""

LISTINGS: Final = {"x86_64": X86_64}


@lru_cache
def machine_code(architecture: str = ARCHITECTURE) -> bytes:
    """Return the code for an architecture.

    :raises Unsupported: it was never written for this one.
    """
    return code_of(LISTINGS, architecture)
