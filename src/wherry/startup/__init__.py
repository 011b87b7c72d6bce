"""The startup snapshot: a program's memory, once it has imported everything, as an executable file.

CPython takes ten milliseconds to start, and a program's imports come on top; a container takes less. So a program that
is called often is started once, as a *template*: when it has imported what it needs it stops, and its memory becomes an
ELF executable, whose segments lie where they lay. A process made of that goes on where the template stopped. What
emacs' ``unexec`` and the startup snapshots of V8 and Node do for their languages.

Floors, lowest first: ``machine_code``, ``control``, ``cache``, ``lasting``, ``script``; ``starter``, ``memory``,
``template``, ``used_pages``; ``build``.

What may be in a template: one thread, no descriptor but the three streams, no state of a random number generator (but
see ``lasting``), and nothing that was found out about the caller. What a process has of its own is put right in
`template`: arguments, environment, streams, signals. The rest is the same in all processes made of one snapshot:
addresses, the seed of hashes, the stack protector's value; hence only its owner may read or execute it.

It is valid for one boot of the machine (the kernel, its vDSO and the processor's features are the same), and for as
long as all files that were mapped or imported are the same. In any other case the program starts in the ordinary way.

Only for x86-64 and the GNU C library. Not here: what a program imports, and when a snapshot of it is made.
"""
