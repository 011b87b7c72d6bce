"""RUN's devices: ``--device=vendor.com/class=name,required``."""

from __future__ import annotations

from wherry.build.dockerfile.fields import comma_separated, parse_bool
from wherry.build.dockerfile.instructions import Device
from wherry.errors import InvalidInput

__all__ = ["parse_device"]


def parse_device(value: str) -> Device:
    """Parse the value of ``--device``.

    :raises InvalidInput: it is wrong, in BuildKit's words.
    """
    try:
        fields = comma_separated(value)
    except InvalidInput as exc:
        raise InvalidInput(f"failed to parse csv devices: {exc.message}") from exc
    name, required = "", False
    for field in fields:
        key, equals, word = field.partition("=")
        key = key.lower()
        if key == "required":
            required = _required(key, word) if equals else True
        elif key == "name" and equals:
            if name:
                raise InvalidInput(f"device name already set to {name}")
            name = word
        elif name:
            reason = (
                f"unexpected key '{key}' in '{field}'"
                if equals
                else f"invalid field '{field}' must be a key=value pair"
            )
            raise InvalidInput(reason)
        else:
            name = field
    return Device(name, required)


def _required(key: str, word: str) -> bool:
    try:
        return parse_bool(word)
    except ValueError:
        raise InvalidInput(f"invalid value for {key}: {word}") from None
