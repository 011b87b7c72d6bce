"""``wherry image bootstrap``: create a base image from a distribution's packages."""

from __future__ import annotations

import os
import sys
import tempfile

from wherry.cli.console import can_draw, draw, flush, printable, write, write_error
from wherry.cli.flags.parser import BOOL, LIST, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME:SUITE",
    "Create a base image from a distribution's packages, with mmdebstrap or debootstrap (debian:bookworm)",
    (
        Flag("components", "", STRING, "Components of the archive (main,contrib)"),
        Flag("include", "", LIST, "Additional packages, separated by commas"),
        Flag("mirror", "", STRING, "Mirror to download packages from (default: the tool's own)"),
        Flag("quiet", "q", BOOL, "Only display the image ID"),
        Flag("tag", "t", STRING, "Name and tag of the image (default NAME:SUITE)"),
        Flag("variant", "", STRING, "Variant of the base system, as the tool calls it", "minbase"),
    ),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create the image and print its ID."""
    from wherry.cli.bootstrap import base_system, image_archive
    from wherry.cli.output.archives import read_chunks
    from wherry.cli.output.progress import show
    from wherry.errors import Forbidden, InvalidInput

    _, colon, suite = arguments[0].rpartition(":")
    if not colon:
        raise InvalidInput(f"missing suite in {arguments[0]!r}", hint="for example debian:bookworm")
    packages = [name for text in options["include"] for name in text.split(",") if name]
    system = base_system.BaseSystem(
        suite,
        variant=options["variant"],
        include=packages,
        mirror=options["mirror"],
        components=options["components"],
    )
    tool = base_system.find_tool()
    if os.geteuid() != 0:
        raise Forbidden("only root can create a base system: its files have several owners")
    progress = _Steps(quiet=options["quiet"])
    made_by = " ".join(["wherry image bootstrap", arguments[0], *(f"--include {name}" for name in packages)])
    with tempfile.TemporaryDirectory(prefix="wherry-bootstrap-") as directory:
        root = f"{directory}/root"
        base_system.install(system, tool, root, progress.show)
        moment = base_system.release_time(root)
        base_system.clean(root, moment)
        progress.show("Packing")
        with open(f"{directory}/layer", "w+b") as layer, open(f"{directory}/image", "w+b") as archive:
            name = options["tag"] or arguments[0]
            identifier = image_archive.write_archive(root, layer, archive, name=name, moment=moment, created_by=made_by)
            archive.seek(0)
            progress.clear()
            show(context.client.images.load(read_chunks(archive), quiet=True), sys.stderr, quiet=options["quiet"])
    write("{}\n", identifier)
    return 0


class _Steps:
    """The tool's progress: one line that is redrawn on a terminal, a line per step elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = can_draw(sys.stderr)
        self._count = 0

    def show(self, text: str) -> None:
        if self._quiet or not text:
            return
        self._count += 1
        text = text.removeprefix("I: ")
        if self._terminal:
            width = max(20, os.get_terminal_size(2).columns - 8)
            draw(f"\r\x1b[K{self._count:4}  {printable(text)[:width]}", sys.stderr)
        else:
            write_error("{}\n", text)
        flush(sys.stderr)

    def clear(self) -> None:
        if self._terminal and self._count and not self._quiet:
            draw("\r\x1b[K", sys.stderr)
