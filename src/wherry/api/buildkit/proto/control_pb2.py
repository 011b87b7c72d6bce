"""The messages of ``control.proto``."""

from wherry.api.buildkit.proto import classes

globals().update(classes("control.proto"))
