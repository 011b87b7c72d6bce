"""Checkpoint and restore, by the program criu.

criu is asked by its *service worker* protocol (``criu swrk``): messages of Protocol Buffers on a socket of packets; see
``Documentation`` and ``images/rpc.proto`` in its sources. ``wherry-oci`` and the engine use the same functions:
:func:`wherry.runtime.criu.dump.dump` and :func:`wherry.runtime.criu.restore.restore`.

An image of criu's is a directory: memory, registers, rights and open files of processes. Who restores one gives it
what it says, so it is as trusted as a program that root runs; what runs afterwards is compared with its specification
all the same (:mod:`wherry.runtime.criu.confined`).

Floors, lowest first: ``wire``, ``mounts``, ``image``; ``messages``; ``session``, ``confined``; ``common``, ``staging``;
``dump``; ``restore``.

Only the verbs that need it import it.
"""
