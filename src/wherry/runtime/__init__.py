"""Start a process from an OCI runtime specification.

The way, and the package of each part::

    Spec ── compile_spec ──> Plan ── launch ──┬─ parent: cgroup, namespaces to join, clone, id maps
         (compile/, pure)   (plan.py)         │   (launch/; the keeper)
                                              └─ child: the plan's steps, one by one, then execve
                                                  (launch/child.py; steps/)

A *plan* is a list of *steps*: immutable values with ``describe()`` and ``apply(context)``. Compiling needs no rights
and changes nothing; whatever can be refused without acting is refused there.

The keeper, which is small, imports :mod:`~wherry.runtime.launch.launch` and :mod:`~wherry.runtime.plan`; these import
neither msgspec nor dataclasses (nor ``inspect`` by way of them). The daemon imports :mod:`~wherry.runtime.compile.spec`
and :mod:`~wherry.runtime.compile.exec`. The packages export nothing by themselves, for that reason.

Floors, lowest first: ``cgroups``, ``hooks``, ``report`` (what a start reports, as values); ``channel`` (messages
between parent and child); ``steps``; ``plan``; ``compile`` and ``launch``, which do not know each other.

Images, HTTP, and whatever a daemon decides do not belong here.
"""
