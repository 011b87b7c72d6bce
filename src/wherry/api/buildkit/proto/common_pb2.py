"""The messages of ``common.proto``."""

from wherry.api.buildkit.proto import classes

globals().update(classes("common.proto"))
