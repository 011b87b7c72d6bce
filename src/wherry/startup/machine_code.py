"""Machine code of the startup snapshot: where the template begins, where it stops, and where a process goes on.

Behind the page of code there is a page of numbers that the code reads, see :mod:`wherry.startup.control`. In order:

``template``
    Where the template's process begins: it puts the vDSO's address where the prepared auxiliary vector has its place,
    and begins on the prepared stack as if the kernel had made it.
``stop``
    A C function without arguments: the process stops itself, by ``SIGSTOP``. It returns in each process that is made of
    the snapshot, with the address of what the kernel has put on that process's stack.
``changed``
    A C function: a list of files, and how many there are; of each the address of its path, inode, size, time of
    modification in seconds and nanoseconds. It returns how many are left from the first one on that differs, 0 if none
    does: a fifth of the time that Python takes for it.
``touch``
    A C function: a list of ranges of memory, and how many there are. It has the kernel map them in one go, which takes
    a quarter of the time of a fault for each page. A kernel before 5.14 does not, and nothing is lost.
``start``
    Where such a process begins. If its vDSO is another one, the ordinary program is executed instead. Otherwise
    it gets what a thread of the C library's has (thread pointer, the place of its ID, the list of robust futexes), the
    C library learns where the heap may grow, the addresses that lay in the vDSO are moved, a program that lasts has its
    memory mapped page by page from now on (:mod:`wherry.linux.userfaultfd`), and the pages that every process uses are
    mapped.

The bytes were made by GNU as; a test assembles the text anew and compares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from wherry.linux._libc import ARCHITECTURE
from wherry.linux.listing import code_of

__all__ = ["LISTINGS", "entry_of", "machine_code"]

X86_64: Final = """
.set control, template+0x1000
template:
  48 89 e6                mov rsi, rsp
  e8 17 00 00 00          call vdso
  48 8b 0d 51 10 00 00    mov rcx, [rip+control+0x60]
  48 89 01                mov [rcx], rax
  48 8b 25 4f 10 00 00    mov rsp, [rip+control+0x68]
  ff 25 51 10 00 00       jmp [rip+control+0x70]
vdso:
  48 ad                   lodsq                           # argc
  48 8d 74 c6 08          lea rsi, [rsi+rax*8+8]          # behind argv
skip:
  48 ad                   lodsq                           # the environment
  48 85 c0                test rax, rax
  75 f9                   jnz skip
look:
  48 ad                   lodsq                           # the auxiliary vector: a type and a value each
  48 89 c2                mov rdx, rax
  48 ad                   lodsq
  83 fa 21                cmp edx, 33                     # AT_SYSINFO_EHDR
  74 06                   je found
  85 d2                   test edx, edx                   # AT_NULL
  75 f0                   jnz look
  31 c0                   xor eax, eax
found:
  c3                      ret
stop:
  53                      push rbx
  55                      push rbp
  41 54                   push r12
  41 55                   push r13
  41 56                   push r14
  41 57                   push r15
  50                      push rax
  0f ae 1c 24             stmxcsr [rsp]
  d9 7c 24 04             fnstcw [rsp+4]
  48 89 25 ae 0f 00 00    mov [rip+control+0x08], rsp
  b8 27 00 00 00          mov eax, 39                     # getpid
  0f 05                   syscall
  89 c7                   mov edi, eax
  be 13 00 00 00          mov esi, 19                     # SIGSTOP
  b8 3e 00 00 00          mov eax, 62                     # kill
  0f 05                   syscall
go_on:
  48 8b 05 8a 0f 00 00    mov rax, [rip+control]
  0f ae 14 24             ldmxcsr [rsp]
  d9 6c 24 04             fldcw [rsp+4]
  59                      pop rcx
  41 5f                   pop r15
  41 5e                   pop r14
  41 5d                   pop r13
  41 5c                   pop r12
  5d                      pop rbp
  5b                      pop rbx
  c3                      ret
changed:
  53                      push rbx
  55                      push rbp
  48 81 ec 98 00 00 00    sub rsp, 152                    # room for a struct stat
  48 89 fb                mov rbx, rdi
  48 89 f5                mov rbp, rsi
file:
  48 85 ed                test rbp, rbp
  74 4e                   jz differs
  bf 9c ff ff ff          mov edi, -100                   # AT_FDCWD
  48 8b 33                mov rsi, [rbx]
  48 89 e2                mov rdx, rsp
  45 31 d2                xor r10d, r10d
  b8 06 01 00 00          mov eax, 262                    # newfstatat
  0f 05                   syscall
  85 c0                   test eax, eax
  75 35                   jnz differs
  48 8b 44 24 08          mov rax, [rsp+8]                # st_ino
  48 3b 43 08             cmp rax, [rbx+8]
  75 2a                   jne differs
  48 8b 44 24 30          mov rax, [rsp+48]               # st_size
  48 3b 43 10             cmp rax, [rbx+16]
  75 1f                   jne differs
  48 8b 44 24 58          mov rax, [rsp+88]               # st_mtime
  48 3b 43 18             cmp rax, [rbx+24]
  75 14                   jne differs
  48 8b 44 24 60          mov rax, [rsp+96]               # st_mtime_nsec
  48 3b 43 20             cmp rax, [rbx+32]
  75 09                   jne differs
  48 83 c3 28             add rbx, 40
  48 ff cd                dec rbp
  eb ad                   jmp file
differs:
  48 89 e8                mov rax, rbp
  48 81 c4 98 00 00 00    add rsp, 152
  5d                      pop rbp
  5b                      pop rbx
  c3                      ret
touch:
  53                      push rbx
  55                      push rbp
  48 89 fb                mov rbx, rdi
  48 89 f5                mov rbp, rsi
range:
  48 85 ed                test rbp, rbp
  74 1b                   jz touched
  48 8b 3b                mov rdi, [rbx]
  48 8b 73 08             mov rsi, [rbx+8]
  48 8b 53 10             mov rdx, [rbx+16]               # MADV_POPULATE_READ, or _WRITE
  b8 1c 00 00 00          mov eax, 28                     # madvise
  0f 05                   syscall
  48 83 c3 18             add rbx, 24
  48 ff cd                dec rbp
  eb e0                   jmp range
touched:
  5d                      pop rbp
  5b                      pop rbx
  c3                      ret
start:
  48 89 e3                mov rbx, rsp
  48 89 e6                mov rsi, rsp
  e8 f0 fe ff ff          call vdso
  48 85 c0                test rax, rax
  0f 84 1b 01 00 00       jz instead
  49 89 c4                mov r12, rax
  48 89 c6                mov rsi, rax
  48 8b 3d 0b 0f 00 00    mov rdi, [rip+control+0x50]
  b9 00 02 00 00          mov ecx, 512
  f3 48 a7                repe cmpsq
  0f 85 00 01 00 00       jne instead
  bf 02 10 00 00          mov edi, 0x1002                 # ARCH_SET_FS
  48 8b 35 b1 0e 00 00    mov rsi, [rip+control+0x10]
  b8 9e 00 00 00          mov eax, 158                    # arch_prctl
  0f 05                   syscall
  48 8b 3d ab 0e 00 00    mov rdi, [rip+control+0x18]
  b8 da 00 00 00          mov eax, 218                    # set_tid_address
  0f 05                   syscall
  89 07                   mov [rdi], eax
  48 8b 3d a3 0e 00 00    mov rdi, [rip+control+0x20]
  48 8b 35 a4 0e 00 00    mov rsi, [rip+control+0x28]
  b8 11 01 00 00          mov eax, 273                    # set_robust_list
  0f 05                   syscall
  31 ff                   xor edi, edi
  b8 0c 00 00 00          mov eax, 12                     # brk
  0f 05                   syscall
  48 8b 0d 9d 0e 00 00    mov rcx, [rip+control+0x38]
  48 89 01                mov [rcx], rax
  4c 2b 25 8b 0e 00 00    sub r12, [rip+control+0x30]
  48 8b 35 94 0e 00 00    mov rsi, [rip+control+0x40]
  48 8b 0d 95 0e 00 00    mov rcx, [rip+control+0x48]
move:
  48 8b 7c ce f8          mov rdi, [rsi+rcx*8-8]
  4c 01 27                add [rdi], r12
  48 ff c9                dec rcx
  75 f3                   jnz move
  48 8b 2d d9 0e 00 00    mov rbp, [rip+control+0xa0]
  48 85 ed                test rbp, rbp
  74 61                   jz warm
  bf 00 08 08 00          mov edi, 0x80800                # O_CLOEXEC, O_NONBLOCK
  b8 43 01 00 00          mov eax, 323                    # userfaultfd
  0f 05                   syscall
  85 c0                   test eax, eax
  78 51                   js warm
  41 89 c4                mov r12d, eax
  89 c7                   mov edi, eax
  be 3f aa 18 c0          mov esi, 0xc018aa3f             # UFFDIO_API
  48 8d 15 c3 0e 00 00    lea rdx, [rip+control+0xb0]
  b8 10 00 00 00          mov eax, 16                     # ioctl
  0f 05                   syscall
  85 c0                   test eax, eax
  74 0c                   jz register
  44 89 e7                mov edi, r12d
  b8 03 00 00 00          mov eax, 3                      # close
  0f 05                   syscall
  eb 29                   jmp warm
register:
  4c 89 25 9d 0e 00 00    mov [rip+control+0xa8], r12
  4c 8d 2d ee 0e 00 00    lea r13, [rip+control+0x100]
area:
  44 89 e7                mov edi, r12d
  be 00 aa 20 c0          mov esi, 0xc020aa00             # UFFDIO_REGISTER
  4c 89 ea                mov rdx, r13
  b8 10 00 00 00          mov eax, 16                     # ioctl
  0f 05                   syscall
  49 83 c5 20             add r13, 32
  48 ff cd                dec rbp
  75 e5                   jnz area
warm:
  48 8b 3d 44 0e 00 00    mov rdi, [rip+control+0x78]
  48 8b 35 45 0e 00 00    mov rsi, [rip+control+0x80]
  e8 b9 fe ff ff          call touch
  48 89 1d b9 0d 00 00    mov [rip+control], rbx
  48 8b 25 ba 0d 00 00    mov rsp, [rip+control+0x08]
  e9 1c fe ff ff          jmp go_on
instead:
  48 8b 0b                mov rcx, [rbx]                  # argc
  48 8d 54 cb 10          lea rdx, [rbx+rcx*8+16]         # the environment
  6a 00                   push 0
argument:
  83 f9 02                cmp ecx, 2
  72 07                   jb program
  ff 34 cb                push [rbx+rcx*8]
  ff c9                   dec ecx
  eb f4                   jmp argument
program:
  48 8b 35 e8 0d 00 00    mov rsi, [rip+control+0x58]     # a list that begins with how many there are
  48 8b 0e                mov rcx, [rsi]
next:
  ff 34 ce                push [rsi+rcx*8]
  48 ff c9                dec rcx
  75 f8                   jnz next
  48 8b 3c 24             mov rdi, [rsp]
  48 89 e6                mov rsi, rsp
  b8 3b 00 00 00          mov eax, 59                     # execve
  0f 05                   syscall
  bf 7f 00 00 00          mov edi, 127
  b8 e7 00 00 00          mov eax, 231                    # exit_group
  0f 05                   syscall
"""

LISTINGS: Final = {"x86_64": X86_64}


@lru_cache
def machine_code(architecture: str = ARCHITECTURE) -> bytes:
    """Return the code for an architecture.

    :raises Unsupported: it was never written for this one.
    """
    return code_of(LISTINGS, architecture)


def entry_of(label: str, architecture: str = ARCHITECTURE) -> int:
    """Return how far from the first byte a label is.

    :raises Unsupported: there is no code for this architecture.
    """
    before, _, _ = LISTINGS.get(architecture, "").partition(f"\n{label}:\n")
    return len(code_of({architecture: f"{before}\n"} if before else {}, architecture))
