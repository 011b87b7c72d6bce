"""The keys that leave a container running and go away, by default ctrl-p ctrl-q."""

from __future__ import annotations

from wherry.errors import InvalidInput

__all__ = ["DEFAULT_KEYS", "Detacher", "key_bytes"]

DEFAULT_KEYS = "ctrl-p,ctrl-q"


def key_bytes(text: str) -> bytes:
    """Read a key sequence: keys with commas between them, a key is a character or ``ctrl-`` and one of ``a-z@[]\\^_``.

    :raises wherry.errors.InvalidInput: a key is none of these.
    """
    result = b""
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            result += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5].lower() in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            result += bytes([ord(key[5].upper()) - 64])
        else:
            raise InvalidInput(f"invalid detach keys ({text}): unknown character: '{key}'")
    return result


class Detacher:
    """Looks for the keys in what is typed; holds back what may be their beginning.

    :param keys: the sequence.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take what was typed. :returns: what may be passed on, and True when the sequence is complete."""
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._matched]:
                passed += self._keys[: self._matched]
                self._matched = 0
                if byte != self._keys[0]:
                    passed.append(byte)
                    continue
            self._matched += 1
            if self._matched == len(self._keys):
                return bytes(passed), True
        return bytes(passed), False
