"""The messages of ``common.proto``; made by ``make proto``."""

from wherry.api.buildkit.proto import classes

_CLASSES = classes("common.proto")
Timestamp = _CLASSES["Timestamp"]
Any = _CLASSES["Any"]
Status = _CLASSES["Status"]
Empty = _CLASSES["Empty"]
BytesMessage = _CLASSES["BytesMessage"]
HealthCheckRequest = _CLASSES["HealthCheckRequest"]
HealthCheckResponse = _CLASSES["HealthCheckResponse"]
