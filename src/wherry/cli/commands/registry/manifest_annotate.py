"""``wherry manifest annotate``: say for which platform a member of a local manifest list is."""

from __future__ import annotations

from wherry.cli.flags.parser import LIST, STRING, Command, Flag
from wherry.cli.registry.manifest_lists import ManifestList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] MANIFEST_LIST MANIFEST",
    "Add additional information to a local image manifest",
    (
        Flag("arch", "", STRING, "Set architecture"),
        Flag("os", "", STRING, "Set operating system"),
        Flag("os-features", "", LIST, "Set operating system feature"),
        Flag("os-version", "", STRING, "Set operating system version"),
        Flag("variant", "", STRING, "Set architecture variant"),
    ),
    min_args=2,
    max_args=2,
)

_MEMBERS = {
    "arch": "architecture", "os": "os", "os-features": "os.features", "os-version": "os.version", "variant": "variant",
}  # fmt: skip


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Change the platform of one member."""
    name, image = arguments
    found = ManifestList(name)
    found.require()
    platform = found.member(image)["Descriptor"]["platform"]
    for flag, member in _MEMBERS.items():
        if options[flag]:
            platform[member] = options[flag]
    found.write()
    return 0
