"""System calls and kernel interfaces, under their own names.

Each module is about one interface and can be imported alone; importing the package imports none of them, because the
keeper counts its pages:

==================  ================================================================================
``fd``              the owner of a file descriptor
``files``           openat2, memfd_create, close_range, renameat2, signalfd
``directories``     getdents64
``trees``           directory trees of any depth, walked and removed by descriptor
``mount``           mount, umount2, pivot_root and the calls that replaced them
``process``         clone3, namespaces, pidfds, prctl, execveat
``proc``            /proc/<pid>/stat
``namespaces``      the kinds of namespaces and how to open one
``capabilities``    names, the five sets
``seccomp``         OCI profiles to filter programs; loading them; ``seccomp_verdict`` runs one,
                    ``seccomp_guard`` keeps files in their projects
``bpf``             cgroup device programs
``lsm``             which security modules are on
``pty``             pseudo-terminals
``elf``             static programs
``project_quota``   limits on the blocks of directory trees
``memory``          the C library's allocator
``ifreq``           the flag that brings an interface up
``netlink``         messages and sockets; over it ``rtnetlink``, ``bridge_ports``, ``conntrack``, and
                    ``lasting_addresses``, ``nftables`` with ``nft_expressions``
==================  ================================================================================

Floors, lowest first: ``_libc``, ``fd``, ``netlink``; ``files``, ``mount``, ``capabilities``, ``nft_expressions``
and all that is not named here; ``process``, ``seccomp``, ``trees``, ``nftables``; ``namespaces``.

Flags and functions carry the kernel's names, so that its manual pages are the documentation of this package; every
failure is a :class:`wherry.errors.SystemCallError` that shows the decoded operands. What the standard library already
offers under the kernel's name and with the kernel's meaning (``os.umask``, ``resource.setrlimit``, ``os.mknod``,
``os.setresuid`` ...) is not repeated here.

Containers, policy and everything about *why* a call is made do not belong here.
"""
