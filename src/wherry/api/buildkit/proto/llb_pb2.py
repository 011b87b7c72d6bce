"""The messages of ``llb.proto``."""

from wherry.api.buildkit.proto import classes

globals().update(classes("llb.proto"))
