"""Of `msgspec`, frozen values with types, read from JSON and written to it.

A value's type is that of its annotation, which is evaluated when the first one is read. The messages are msgspec's.
"""

from msgspec import json
from msgspec.values import DecodeError, MsgspecError, Struct, ValidationError, field, to_builtins

__all__ = ["DecodeError", "MsgspecError", "Struct", "ValidationError", "field", "json", "to_builtins"]
