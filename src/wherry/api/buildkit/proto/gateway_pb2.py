"""The messages of ``gateway.proto``."""

from wherry.api.buildkit.proto import classes

globals().update(classes("gateway.proto"))
