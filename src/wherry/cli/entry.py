"""Entry point of the script ``./wherry``, which runs without ``site``: adds the package to the path."""

import sys


def begin(source: str) -> None:
    """Do what an option of the interpreter asks for: make the startup snapshot, or be its template."""
    from wherry.cli import snapshot

    if "snapshot" in sys._xoptions:
        snapshot.make_snapshot(source, str(sys._xoptions["snapshot"]))
    snapshot.become_template(source, int(str(sys._xoptions["template"])))
    from wherry.cli.main import main

    main()


def enter(source: str) -> None:
    """Run the command, and see to it that the next ones begin faster."""
    from wherry.cli.main import main

    def afterwards() -> None:
        from wherry.cli.snapshot import offer_snapshot

        offer_snapshot(source)

    main(afterwards)


if __name__ == "__main__":
    here = __file__.rpartition("/wherry/cli/")[0]
    sys.path.insert(0, here)
    if {"snapshot", "template"}.isdisjoint(sys._xoptions):
        enter(here)
    begin(here)
