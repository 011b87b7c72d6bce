"""``wherry image tree``: images as a tree, each below its base image."""

from __future__ import annotations

from wherry.cli.console import write_page, write_raw
from wherry.cli.flags.parser import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Show images as a tree, each below its base image, and the disk space that shared layers save",
    (Flag("format", "", STRING, "Format output: json"),),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the tree."""
    from wherry.cli.output.image_tree import image_tree, savings_line

    sharing = context.client.storage.sharing()
    if options["format"] == "json":
        from wherry.docker.gotemplate.printing import go_json

        write_raw(go_json(sharing) + "\n")
        return 0
    write_page(f"{image_tree(sharing)}\n{savings_line(sharing)}")
    return 0
