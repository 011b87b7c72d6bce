"""The table of verbs with their modules, and the global flags.

Nothing here imports a verb: :func:`load` does, for the one that was typed.
"""

from __future__ import annotations

import sys

from wherry.cli.flags.parser import BOOL, LIST, STRING, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Command, Options

    class Verb(Protocol):
        """A module in ``wherry.cli.commands``."""

        COMMAND: Command

        def run(self, context: Context, options: Options, arguments: list[str]) -> int: ...


__all__ = ["ABSENT", "BUILD_VERBS", "GLOBAL_FLAGS", "GROUPS", "HINT", "VERBS", "load"]

HINT = "See '{} --help'."

GLOBAL_FLAGS = (
    Flag("config", "", STRING, "Location of client config files (default: $DOCKER_CONFIG, else ~/.docker)"),
    Flag("context", "c", STRING, "Name of the context to use to connect to the daemon (overrides WHERRY_HOST)"),
    Flag("debug", "D", BOOL, "Enable debug mode (show where an error comes from)"),
    Flag("help", "h", BOOL, "Print this help"),
    Flag("host", "H", LIST, "Daemon socket to connect to: unix:///path, tcp://host:port or ssh://user@host"),
    Flag("log-level", "l", STRING, "Logging level: debug, info, warn, error or fatal; debug is as --debug", "info"),
    Flag("tls", "", BOOL, "Use TLS, and trust any daemon"),
    Flag("tlscacert", "", STRING, "Trust only daemons whose certificate this CA signed (path of a file)"),
    Flag("tlscert", "", STRING, "Path to the TLS certificate of the client"),
    Flag("tlskey", "", STRING, "Path to the TLS private key of the client"),
    Flag("tlsverify", "", BOOL, "Use TLS, and verify the daemon"),
    Flag("version", "v", BOOL, "Print the version and quit"),
)

_CONTAINER = (
    "attach commit cp create diff exec explain export inspect kill logs pause port prune rename restart rm run start "
    "stats stop top unpause update wait"
)

# Name on the command line -> module in wherry.cli.commands.
VERBS: dict[str, str] = {
    **{verb: f"container.{verb}" for verb in _CONTAINER.split() if verb != "prune"},
    "build": "image.build",
    "buildx": "buildx",
    "completion": "completion",
    "compose": "compose",
    "events": "system.events",
    "history": "image.history",
    "images": "image.ls",
    "import": "image.import_",
    "info": "system.info",
    "inspect": "system.inspect",
    "load": "image.load",
    "login": "registry.login",
    "logout": "registry.logout",
    "ps": "container.ls",
    "pull": "image.pull",
    "push": "image.push",
    "rmi": "image.rm",
    "save": "image.save",
    "search": "registry.search",
    "tag": "image.tag",
    "version": "system.version",
}

#: What follows ``build`` and is a verb; :func:`wherry.cli.dispatch.dispatch` says when it is a directory.
BUILD_VERBS: dict[str, str] = {
    "inspect": "builder.inspect",
    "logs": "builder.logs",
    "ls": "builder.ls",
}

GROUPS: dict[str, dict[str, str]] = {
    "builder": {
        "build": "image.build",
        "du": "builder.du",
        **BUILD_VERBS,
        "prune": "builder.prune",
    },
    "checkpoint": {
        "create": "checkpoint.create",
        "list": "checkpoint.ls",
        "ls": "checkpoint.ls",
        "pull": "checkpoint.pull",
        "push": "checkpoint.push",
        "remove": "checkpoint.rm",
        "rm": "checkpoint.rm",
    },
    "container": {
        **{verb: f"container.{verb}" for verb in _CONTAINER.split()},
        "inspect": "container.inspect",
        "list": "container.ls",
        "ls": "container.ls",
        "prune": "container.prune",
        "ps": "container.ls",
        "remove": "container.rm",
    },
    "context": {
        "create": "context.create",
        "export": "context.export",
        "import": "context.import_",
        "inspect": "context.inspect",
        "list": "context.ls",
        "ls": "context.ls",
        "remove": "context.rm",
        "rm": "context.rm",
        "show": "context.show",
        "update": "context.update",
        "use": "context.use",
    },
    "image": {
        "bootstrap": "image.bootstrap",
        "build": "image.build",
        "diff": "image.diff",
        "history": "image.history",
        "import": "image.import_",
        "inspect": "image.inspect",
        "layers": "image.layers",
        "list": "image.ls",
        "load": "image.load",
        "ls": "image.ls",
        "prune": "image.prune",
        "pull": "image.pull",
        "push": "image.push",
        "remove": "image.rm",
        "rm": "image.rm",
        "save": "image.save",
        "tag": "image.tag",
        "tree": "image.tree",
    },
    "manifest": {
        "annotate": "registry.manifest_annotate",
        "create": "registry.manifest_create",
        "inspect": "registry.manifest_inspect",
        "push": "registry.manifest_push",
        "rm": "registry.manifest_rm",
    },
    "network": {
        "connect": "network.connect",
        "create": "network.create",
        "disconnect": "network.disconnect",
        "inspect": "network.inspect",
        "list": "network.ls",
        "ls": "network.ls",
        "prune": "network.prune",
        "remove": "network.rm",
        "rm": "network.rm",
        "trace": "network.trace",
    },
    "registry": {
        "check": "registry.check",
        "gc": "registry.gc",
        "serve": "registry.serve",
    },
    "system": {
        "df": "system.df",
        "dial-stdio": "system.dial_stdio",
        "events": "system.events",
        "fsck": "system.fsck",
        "info": "system.info",
        "install": "system.install",
        "prune": "system.prune",
        "shutdown": "system.shutdown",
        "uninstall": "system.uninstall",
    },
    "volume": {
        "clone": "volume.clone",
        "create": "volume.create",
        "du": "volume.du",
        "export": "volume.export",
        "import": "volume.import_",
        "inspect": "volume.inspect",
        "list": "volume.ls",
        "ls": "volume.ls",
        "prune": "volume.prune",
        "pull": "volume.pull",
        "push": "volume.push",
        "remove": "volume.rm",
        "restore": "volume.restore",
        "rm": "volume.rm",
        "snapshot": "volume.snapshot",
        "snapshots": "volume.snapshots",
        "update": "volume.update",
    },
}

_SWARM = "wherry is no part of a swarm, and makes none; for projects there is 'wherry compose'"

#: Docker's commands that are not here, and why.
ABSENT: dict[str, str] = {
    **dict.fromkeys(("config", "node", "secret", "service", "stack", "swarm"), _SWARM),
    "plugin": "managed plugins are not supported; volume plugins that run by themselves are found as by Docker",
    "trust": "content trust of Docker's (Notary) is not supported; signatures are listed by 'wherry manifest inspect "
    "--referrers'",
}


def load(module: str) -> Verb:
    """Import a verb's module."""
    name = f"wherry.cli.commands.{module}"
    __import__(name)
    verb: Verb = sys.modules[name]
    return verb
