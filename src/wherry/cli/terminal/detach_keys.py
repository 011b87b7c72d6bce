"""The key sequence that detaches from a container, by default ctrl-p ctrl-q."""

from __future__ import annotations

from wherry.errors import InvalidInput

__all__ = ["DEFAULT_KEYS", "Detacher", "key_bytes"]

DEFAULT_KEYS = "ctrl-p,ctrl-q"


def key_bytes(text: str) -> bytes:
    """Parse a key sequence: keys separated by commas; a key is a character, or ``ctrl-`` and one of ``a-z@[]\\^_``.

    :raises wherry.errors.InvalidInput: invalid key.
    """
    result = b""
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            result += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5].lower() in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            result += bytes([ord(key[5].upper()) - 64])
        else:
            raise InvalidInput(f"Invalid detach keys ({text}) provided")
    return result


class Detacher:
    """Finds the key sequence in the input; holds back bytes that may be its beginning.

    :param keys: the sequence.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Process input. :returns: the bytes to pass on, and True when the sequence is complete."""
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
