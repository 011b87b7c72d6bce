"""``wherry image bootstrap``: make a distribution's base system an image, of its packages."""

from __future__ import annotations

import os
import sys
import tempfile

from wherry.cli.flags import BOOL, LIST, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME:SUITE",
    "Make a base image of a distribution's packages, with mmdebstrap or debootstrap (debian:bookworm)",
    (
        Flag("components", "", STRING, "Components of the archive (main,contrib)"),
        Flag("include", "", LIST, "Further packages, separated by commas"),
        Flag("mirror", "", STRING, "Where packages come from; otherwise the tool's own choice"),
        Flag("quiet", "q", BOOL, "Only the image's ID"),
        Flag("tag", "t", STRING, "Name for the image; otherwise NAME:SUITE"),
        Flag("variant", "", STRING, "Which packages are a base system: the tool's word for it", "minbase"),
    ),
    least=1,
    most=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it, and print its ID."""
    from wherry.cli import bootstrap
    from wherry.cli.archives import pieces
    from wherry.cli.progress import show
    from wherry.errors import Forbidden, InvalidInput

    _, colon, suite = arguments[0].rpartition(":")
    if not colon:
        raise InvalidInput(f"{arguments[0]!r} names no suite", hint="debian:bookworm does")
    packages = [name for text in options["include"] for name in text.split(",") if name]
    system = bootstrap.BaseSystem(
        suite,
        variant=options["variant"],
        include=packages,
        mirror=options["mirror"],
        components=options["components"],
    )
    tool = bootstrap.find_tool()
    if os.geteuid() != 0:
        raise Forbidden("a base system holds files of many owners, which only root can make")
    told = _Steps(quiet=options["quiet"])
    made_by = " ".join(["wherry image bootstrap", arguments[0], *(f"--include {name}" for name in packages)])
    with tempfile.TemporaryDirectory(prefix="wherry-bootstrap-") as directory:
        root = f"{directory}/root"
        bootstrap.install(system, tool, root, told.tell)
        moment = bootstrap.release_time(root)
        bootstrap.clean(root, moment)
        told.tell("Packing")
        with open(f"{directory}/layer", "w+b") as layer, open(f"{directory}/image", "w+b") as archive:
            name = options["tag"] or arguments[0]
            identifier = bootstrap.write_archive(root, layer, archive, name=name, moment=moment, created_by=made_by)
            archive.seek(0)
            told.end()
            show(context.client.images.load(pieces(archive), quiet=True), sys.stderr, quiet=options["quiet"])
    sys.stdout.write(f"{identifier}\n")
    return 0


class _Steps:
    """What the tool does: on a terminal in one line that changes, elsewhere line by line."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._count = 0

    def tell(self, text: str) -> None:
        if self._quiet or not text:
            return
        self._count += 1
        text = text.removeprefix("I: ")
        if self._terminal:
            width = max(20, os.get_terminal_size(2).columns - 8)
            sys.stderr.write(f"\r\x1b[K{self._count:4}  {text[:width]}")
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._terminal and self._count and not self._quiet:
            sys.stderr.write("\r\x1b[K")
