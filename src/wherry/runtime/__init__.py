"""A runtime specification becomes a running process.

The way, and the module of each part::

    Spec ── compile_spec ──> Plan ── launch ──┬─ parent: cgroup, namespaces to join, clone, id maps
         (compile.py, pure)  (plan.py)        │   (launch.py; the keeper)
                                              └─ child: the plan's steps, one by one, then execve
                                                  (child.py; rootfs, mounts, devices, masks, user, process ...)

A *plan* is a list of *steps*: immutable values with ``describe()`` and ``apply(context)``. Compiling needs no rights
and changes nothing; whatever can be refused without acting is refused there.

The keeper, which is small, imports :mod:`~wherry.runtime.launch` and :mod:`~wherry.runtime.plan`; these import neither
msgspec nor dataclasses (nor ``inspect`` by way of them). The daemon imports :mod:`~wherry.runtime.compile` and
:mod:`~wherry.runtime.compile_exec`. The package imports nothing by itself, for that reason.

Images, HTTP, and whatever a daemon decides do not belong here.
"""
