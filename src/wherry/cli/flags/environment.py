"""Files of environment variables and labels."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_env_file", "read_label_file"]


def _lines(path: str) -> Iterable[str]:
    text = _content(path).removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(text.split(b"\n"), 1):
        try:
            kept = line.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            shown = " ".join(map(str, line.removesuffix(b"\r")))
            raise _invalid(path, f"invalid utf8 bytes at line {number}: [{shown}]") from None
        if kept and not kept.startswith("#"):
            _check(kept, path)
            yield kept


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        if os.path.isdir(path):
            raise _invalid(path, f"read {path}: is a directory") from error
        from wherry.errors import InvalidInput

        raise InvalidInput(f"open {path}: {(error.strerror or str(error)).lower()}") from error


def _check(line: str, path: str) -> None:
    name = line.partition("=")[0]
    if not name:
        raise _invalid(path, f"no variable name on line '{line}'")
    if set(name) & set(" \t"):
        raise _invalid(path, f"variable '{name}' contains whitespaces")


def _invalid(path: str, problem: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(f"invalid env file ({path}): {problem}")


def read_env_file(path: str) -> list[str]:
    """Read ``NAME=value`` lines; ``NAME`` alone takes the value of this process, if it is set.

    :raises wherry.errors.InvalidInput: the file cannot be read.
    """
    result = []
    for line in _lines(path):
        if "=" in line:
            result.append(line)
        elif line.strip() in os.environ:
            result.append(f"{line.strip()}={os.environ[line.strip()]}")
    return result


def read_label_file(path: str) -> list[tuple[str, str]]:
    """Read ``name=value`` lines."""
    pairs = (line.partition("=") for line in _lines(path))
    return [(key, value) for key, equals, value in pairs if equals]
