"""Entry point of the script ``./wherry-oci``, which runs without ``site``: the package and its needs go on the path."""

import gc
import sys

#: The verbs that are called most, and need little; see :mod:`wherry.ociruntime.light`.
LIGHT = {"create", "start", "state", "kill", "delete", "run", "exec", "pause", "resume"}
#: Of these, the verbs that need many modules; see :mod:`wherry.ociruntime.collected`.
LARGE = {"create", "run", "exec"}
#: With one of these, or with a name of systemd's, a program is asked that speaks D-Bus.
HEAVY = {"--systemd-cgroup", "--cgroup-manager", "--cgroup-manager=systemd"}


def is_light() -> bool:
    """Whether the command can do with the small modules."""
    return not LIGHT.isdisjoint(sys.argv) and HEAVY.isdisjoint(sys.argv)


def enter(source: str) -> None:
    """Run the command with the small modules."""
    if LARGE.isdisjoint(sys.argv):
        from wherry.ociruntime.main import main

        main()
    from wherry.ociruntime.collected import Collected, collect

    collected = Collected(source)
    if collected:
        sys.meta_path.insert(0, collected)
    from wherry.ociruntime.main import main
    from wherry.ociruntime.snapshot import offer_snapshot

    stale = "stale" in sys._xoptions

    def afterwards(code: int) -> None:
        if not collected:
            collect(source)
        elif code == 0:
            offer_snapshot(source, stale=stale)

    main(afterwards)


def enter_again(source: str, base: str) -> None:
    """Be the template of the startup snapshot; then, in each process that is made of it, run the command."""
    from wherry.ociruntime.snapshot import become_template

    prepare = become_template(source, int(base))
    from wherry.ociruntime.main import main

    if is_light():
        if not LARGE.isdisjoint(sys.argv):
            prepare()
        main()
    execute_again()


def execute_again() -> None:
    """Execute this program again, with the modules that the small ones are in place of."""
    import os

    os.execv(sys.executable, [sys.executable, "-I", "-S", "-X", "all", __file__, *sys.argv[1:]])


def try_light(source: str, template: str) -> None:
    """Run the command with the small modules, if they do.

    :param template: where the template is that this process is to be; empty if it is to be none.
    """
    sys.path.insert(0, f"{source}/wherry/ociruntime/light")
    try:
        if template:
            enter_again(source, template)
        enter(source)
    except BaseException as error:
        if type(error).__name__ != "NeedsAll":
            raise
        execute_again()


if __name__ == "__main__":
    gc.disable()  # all that is made on the way is needed until the end, and looking through it takes a tenth of a start
    here = __file__.rpartition("/wherry/ociruntime/")[0]
    sys.path.insert(0, here)
    wanted = sys._xoptions.get("template", "")
    # From 3.14 on annotations are not where the small modules look for them.
    if sys.version_info < (3, 14) and (wanted or is_light()) and "all" not in sys._xoptions:
        try_light(here, str(wanted))
    environment = sys.executable.rpartition("/bin/")[0]
    sys.path.append(f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    if "snapshot" in sys._xoptions:
        from wherry.ociruntime.snapshot import make_snapshot

        make_snapshot(here, str(sys._xoptions["snapshot"]))
    from wherry.ociruntime.main import main

    main()
