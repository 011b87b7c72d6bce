"""The messages of ``fsutil.proto``; made by ``make proto``."""

from wherry.api.buildkit.proto import classes

_CLASSES = classes("fsutil.proto")
Stat = _CLASSES["Stat"]
Packet = _CLASSES["Packet"]
