"""``wherry-oci``: the runtime as a command, for engines that start an OCI runtime for each thing they want.

There is no daemon: all that is known of a container is in its directory (:mod:`wherry.ociruntime.container`). A verb is
one file in ``verbs``, and imports what it needs only; ``start``, ``state``, ``kill`` and ``delete`` import next to
nothing, because a start-up is paid for by each of them.

Floors, lowest first: ``flags``, ``messages``, ``signals``; ``container``; ``bundle``, ``console``, ``lasting_hooks``;
``following``; ``foreground``; ``making``; ``verbs``; ``main``; ``entry``.

What a container's process does on its way to its program is :mod:`wherry.runtime`'s.
"""
