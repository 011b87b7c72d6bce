"""The parent's side of a start, and the child's main function; the keeper imports it, so it must stay small.

Floors, lowest first: ``borrow``, ``child``, ``inherited``, ``reap``, ``sealed_exe``, ``seccomp_listener``, ``setns``,
``user_namespace``, ``net_devices``; ``idmapped_mounts``, ``spare``; ``launched``, ``vfork_server``,
``zygote``; ``prefork``; ``launch``.
"""
