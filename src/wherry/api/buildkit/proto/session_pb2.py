"""The messages of ``session.proto``; made by ``make proto``."""

from wherry.api.buildkit.proto import classes

_CLASSES = classes("session.proto")
CredentialsRequest = _CLASSES["CredentialsRequest"]
CredentialsResponse = _CLASSES["CredentialsResponse"]
GetSecretRequest = _CLASSES["GetSecretRequest"]
GetSecretResponse = _CLASSES["GetSecretResponse"]
CheckAgentRequest = _CLASSES["CheckAgentRequest"]
CheckAgentResponse = _CLASSES["CheckAgentResponse"]
ContentInfo = _CLASSES["ContentInfo"]
InfoRequest = _CLASSES["InfoRequest"]
InfoResponse = _CLASSES["InfoResponse"]
ReadContentRequest = _CLASSES["ReadContentRequest"]
ReadContentResponse = _CLASSES["ReadContentResponse"]
WriteContentRequest = _CLASSES["WriteContentRequest"]
WriteContentResponse = _CLASSES["WriteContentResponse"]
