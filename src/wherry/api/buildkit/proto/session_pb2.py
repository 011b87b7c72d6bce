"""The messages of ``session.proto``."""

from wherry.api.buildkit.proto import classes

globals().update(classes("session.proto"))
