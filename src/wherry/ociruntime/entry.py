"""Entry point of the script ``./wherry-oci``, which runs without ``site``: the package and its needs go on the path."""

import gc
import sys

#: The verbs that are called most, and need little; see :mod:`wherry.ociruntime.light`.
LIGHT = {"create", "start", "state", "kill", "delete", "run", "exec", "pause", "resume"}
#: Of these, the verbs that need many modules; see :mod:`wherry.ociruntime.collected`.
LARGE = {"create", "run", "exec"}
#: With one of these, or with a name of systemd's, a program is asked that speaks D-Bus.
HEAVY = {"--systemd-cgroup", "--cgroup-manager", "--cgroup-manager=systemd"}


def enter(source: str) -> None:
    """Run the command with the small modules."""
    sys.path.insert(0, f"{source}/wherry/ociruntime/light")
    if LARGE.isdisjoint(sys.argv):
        from wherry.ociruntime.main import main

        main()
    from wherry.ociruntime.collected import Collected, collect

    collected = Collected(source)
    if collected:
        sys.meta_path.insert(0, collected)
    from wherry.ociruntime.main import main

    main(lambda: None if collected else collect(source))


def execute_again() -> None:
    """Execute this program again, with the modules that the small ones are in place of."""
    import os

    os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "all", __file__, *sys.argv[1:]])


if __name__ == "__main__":
    gc.disable()  # all that is made on the way is needed until the end, and looking through it takes a tenth of a start
    here = __file__.rpartition("/wherry/ociruntime/")[0]
    sys.path.insert(0, here)
    # From 3.14 on annotations are not where the small modules look for them.
    light = sys.version_info < (3, 14) and not LIGHT.isdisjoint(sys.argv) and HEAVY.isdisjoint(sys.argv)
    if light and "all" not in sys._xoptions:
        try:
            enter(here)
        except BaseException as error:
            if type(error).__name__ != "NeedsAll":
                raise
            execute_again()
    environment = sys.executable.rpartition("/bin/")[0]
    sys.path.append(f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from wherry.ociruntime.main import main

    main()
