"""The trampoline's machine code: a listing for each architecture, with the bytes beside the instructions.

It carries out a script, a list of entries of 72 bytes (:mod:`wherry.runtime.steps.trampoline` writes them)::

     0  number of a system call, or -1, -2, -3
     8  its six arguments
    56  where to go on when it failed; 0: with the next entry all the same
    64  where to go on when it returned 0; 0: with the next entry (for clone: what the child does)

* -1 ends the process; its exit code is the number of the last error.
* -2 writes the last child's process ID as letters, for this process's name.
* -3 lets the last child go on (SIGUSR1), and is init until that has ended: reaps, and passes signals on. Its first
  argument is the set of all signals, which are blocked.

Before the script there are, at 0x200000000: the last child (8 bytes), a zero and the last error (4 bytes each), a wait
status, and at +0x20 the name. The process has no stack in use, calls nothing, and shares no memory with anybody.

The bytes were made by GNU as; a test assembles the text anew and compares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from wherry.linux._libc import ARCHITECTURE
from wherry.linux.listing import code_of

__all__ = ["LISTINGS", "machine_code"]

X86_64: Final = """
start:
  bb 02 00 00 00          mov ebx, 2                      # where the data is: 0x200000000
  48 c1 e3 20             shl rbx, 32
  48 8d 6b 40             lea rbp, [rbx+0x40]             # the first entry of the script
next:
  48 8b 45 00             mov rax, [rbp]
  48 85 c0                test rax, rax
  78 47                   js special                      # a negative number is no system call
  48 8b 7d 08             mov rdi, [rbp+8]
  48 8b 75 10             mov rsi, [rbp+16]
  48 8b 55 18             mov rdx, [rbp+24]
  4c 8b 55 20             mov r10, [rbp+32]
  4c 8b 45 28             mov r8, [rbp+40]
  4c 8b 4d 30             mov r9, [rbp+48]
  0f 05                   syscall
  48 85 c0                test rax, rax
  78 18                   js failed
  48 8b 4d 40             mov rcx, [rbp+64]               # where a new child goes on
  e3 0c                   jrcxz advance
  48 85 c0                test rax, rax
  48 0f 44 e9             cmovz rbp, rcx                  # this is the child
  74 c9                   jz next
  48 89 03                mov [rbx], rax                  # this is its parent: remember its number
advance:
  48 83 c5 48             add rbp, 72                     # the next entry
  eb c0                   jmp next
failed:
  48 8b 4d 38             mov rcx, [rbp+56]               # where to go on after a failure; 0: it does not matter
  e3 f4                   jrcxz advance
  f7 d8                   neg eax
  89 43 0c                mov [rbx+12], eax               # errno
  48 89 cd                mov rbp, rcx
  eb b0                   jmp next
special:
  48 ff c0                inc rax
  0f 84 85 00 00 00       jz give_up                      # -1
  48 ff c0                inc rax
  0f 84 88 00 00 00       jz tell                         # -2
  8b 3b                   mov edi, [rbx]
  be 0a 00 00 00          mov esi, 10                     # -3: let the child go on, SIGUSR1
  b8 3e 00 00 00          mov eax, 62                     # kill
  0f 05                   syscall
wait:
  48 8b 7d 08             mov rdi, [rbp+8]
  31 f6                   xor esi, esi
  31 d2                   xor edx, edx
  41 ba 08 00 00 00       mov r10d, 8
  b8 80 00 00 00          mov eax, 128                    # rt_sigtimedwait
  0f 05                   syscall
  85 c0                   test eax, eax
  78 e7                   js wait
  83 f8 11                cmp eax, 17                     # SIGCHLD
  74 17                   je reap
  83 f8 15                cmp eax, 21                     # SIGTTIN
  74 dd                   je wait
  83 f8 16                cmp eax, 22                     # SIGTTOU
  74 d8                   je wait
  89 c6                   mov esi, eax                    # any other signal is for the program
  8b 3b                   mov edi, [rbx]
  b8 3e 00 00 00          mov eax, 62                     # kill
  0f 05                   syscall
  eb cb                   jmp wait
reap:
  48 c7 c7 ff ff ff ff    mov rdi, -1
  48 8d 73 10             lea rsi, [rbx+16]
  ba 01 00 00 00          mov edx, 1                      # WNOHANG
  45 31 d2                xor r10d, r10d
  b8 3d 00 00 00          mov eax, 61                     # wait4
  0f 05                   syscall
  85 c0                   test eax, eax
  7e ad                   jle wait
  3b 03                   cmp eax, [rbx]
  75 de                   jne reap
  8b 43 10                mov eax, [rbx+16]
  89 c7                   mov edi, eax
  83 e7 7f                and edi, 0x7f
  74 08                   jz exited
  81 c7 80 00 00 00       add edi, 128                    # killed by a signal
  eb 08                   jmp leave
exited:
  0f b6 fc                movzx edi, ah                   # its exit code
  eb 03                   jmp leave
give_up:
  8b 7b 0c                mov edi, [rbx+12]
leave:
  b8 e7 00 00 00          mov eax, 231                    # exit_group
  0f 05                   syscall
  0f 0b                   ud2
tell:
  8b 03                   mov eax, [rbx]
  48 8d 7b 22             lea rdi, [rbx+0x22]             # where eight letters go
  b9 08 00 00 00          mov ecx, 8
letter:
  89 c2                   mov edx, eax
  83 e2 0f                and edx, 15
  83 c2 61                add edx, 97                     # a letter for each four bits
  88 17                   mov [rdi], dl
  48 ff c7                inc rdi
  c1 e8 04                shr eax, 4
  ff c9                   dec ecx
  75 ec                   jnz letter
  e9 2c ff ff ff          jmp advance
"""

AARCH64: Final = """
start:
  54 00 c0 d2             mov x20, #0x200000000
  93 02 01 91             add x19, x20, #0x40             # the first entry of the script
next:
  68 02 40 f9             ldr x8, [x19]
  68 02 f8 b7             tbnz x8, #63, special           # a negative number is no system call
  60 86 40 a9             ldp x0, x1, [x19, #8]
  62 8e 41 a9             ldp x2, x3, [x19, #24]
  64 96 42 a9             ldp x4, x5, [x19, #40]
  01 00 00 d4             svc #0
  20 01 f8 b7             tbnz x0, #63, failed
  69 22 40 f9             ldr x9, [x19, #64]              # where a new child goes on
  69 00 00 b4             cbz x9, advance
  80 00 00 b4             cbz x0, forked                  # this is the child
  80 02 00 f9             str x0, [x20]                   # this is its parent: remember its number
advance:
  73 22 01 91             add x19, x19, #72               # the next entry
  f4 ff ff 17             b next
forked:
  f3 03 09 aa             mov x19, x9
  f2 ff ff 17             b next
failed:
  69 1e 40 f9             ldr x9, [x19, #56]              # where to go on after a failure; 0: it does not matter
  69 ff ff b4             cbz x9, advance
  e0 03 00 4b             neg w0, w0
  80 0e 00 b9             str w0, [x20, #12]              # errno
  fa ff ff 17             b forked
special:
  1f 05 00 b1             cmn x8, #1
  60 05 00 54             b.eq give_up
  1f 09 00 b1             cmn x8, #2
  a0 05 00 54             b.eq tell
  80 02 40 b9             ldr w0, [x20]
  41 01 80 52             mov w1, #10                     # -3: let the child go on, SIGUSR1
  28 10 80 d2             mov x8, #129                    # kill
  01 00 00 d4             svc #0
wait:
  60 06 40 f9             ldr x0, [x19, #8]
  01 00 80 d2             mov x1, #0
  02 00 80 d2             mov x2, #0
  03 01 80 d2             mov x3, #8
  28 11 80 d2             mov x8, #137                    # rt_sigtimedwait
  01 00 00 d4             svc #0
  40 ff ff 37             tbnz w0, #31, wait
  1f 44 00 71             cmp w0, #17                     # SIGCHLD
  40 01 00 54             b.eq reap
  1f 54 00 71             cmp w0, #21                     # SIGTTIN
  c0 fe ff 54             b.eq wait
  1f 58 00 71             cmp w0, #22                     # SIGTTOU
  80 fe ff 54             b.eq wait
  e1 03 00 2a             mov w1, w0                      # any other signal is for the program
  80 02 40 b9             ldr w0, [x20]
  28 10 80 d2             mov x8, #129                    # kill
  01 00 00 d4             svc #0
  ef ff ff 17             b wait
reap:
  00 00 80 92             mov x0, #-1
  81 42 00 91             add x1, x20, #0x10
  22 00 80 d2             mov x2, #1                      # WNOHANG
  03 00 80 d2             mov x3, #0
  88 20 80 d2             mov x8, #260                    # wait4
  01 00 00 d4             svc #0
  1f 00 00 71             cmp w0, #0
  ed fc ff 54             b.le wait
  81 02 40 b9             ldr w1, [x20]
  1f 00 01 6b             cmp w0, w1
  c1 fe ff 54             b.ne reap
  81 12 40 b9             ldr w1, [x20, #0x10]
  20 18 00 12             and w0, w1, #0x7f
  60 00 00 34             cbz w0, exited
  00 00 02 11             add w0, w0, #128                # killed by a signal
  04 00 00 14             b leave
exited:
  20 3c 08 53             ubfx w0, w1, #8, #8             # its exit code
  02 00 00 14             b leave
give_up:
  80 0e 40 b9             ldr w0, [x20, #12]
leave:
  c8 0b 80 d2             mov x8, #94                     # exit_group
  01 00 00 d4             svc #0
  00 00 00 00             udf #0
tell:
  80 02 40 b9             ldr w0, [x20]
  81 8a 00 91             add x1, x20, #0x22              # where eight letters go
  02 01 80 52             mov w2, #8
letter:
  03 0c 00 12             and w3, w0, #15
  63 84 01 11             add w3, w3, #97                 # a letter for each four bits
  23 14 00 38             strb w3, [x1], #1
  00 7c 04 53             lsr w0, w0, #4
  42 04 00 71             subs w2, w2, #1
  61 ff ff 54             b.ne letter
  be ff ff 17             b advance
"""

LISTINGS: Final = {"x86_64": X86_64, "aarch64": AARCH64}


@lru_cache
def machine_code(architecture: str = ARCHITECTURE) -> bytes:
    """Return the code for an architecture.

    :raises Unsupported: it was never written for this one.
    """
    return code_of(LISTINGS, architecture)
