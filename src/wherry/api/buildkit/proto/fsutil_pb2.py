"""The messages of ``fsutil.proto``."""

from wherry.api.buildkit.proto import classes

globals().update(classes("fsutil.proto"))
