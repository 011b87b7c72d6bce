"""Entry point of the script ``./wherry-oci``, which runs without ``site``: the package and its needs go on the path."""

import gc
import sys

#: The verbs that are called most, and need little; see :mod:`wherry.ociruntime.light`.
LIGHT = {"create", "start", "state", "kill", "delete", "run", "exec", "pause", "resume"}
#: With one of these, or with a name of systemd's, a program is asked that speaks D-Bus.
HEAVY = {"--systemd-cgroup", "--cgroup-manager", "--cgroup-manager=systemd"}

if __name__ == "__main__":
    gc.disable()  # all that is made on the way is needed until the end, and looking through it takes a tenth of a start
    source = __file__.rpartition("/wherry/ociruntime/")[0]
    environment = sys.executable.rpartition("/bin/")[0]
    sys.path.insert(0, source)
    # From 3.14 on annotations are not where the small modules look for them.
    light = sys.version_info < (3, 14) and not LIGHT.isdisjoint(sys.argv) and HEAVY.isdisjoint(sys.argv)
    if light and "all" not in sys._xoptions:
        sys.path.insert(0, f"{source}/wherry/ociruntime/light")
    else:
        sys.path.append(f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from wherry.ociruntime.main import main

    try:
        main()
    except BaseException as error:
        if type(error).__name__ != "NeedsAll":
            raise
        import os

        os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "all", __file__, *sys.argv[1:]])
