"""Files of environment variables and labels."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_env_file", "read_label_file"]


def _lines(path: str) -> Iterable[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        from wherry.errors import InvalidInput

        raise InvalidInput(f'env file "{path}" contains invalid utf8 bytes', cause=str(error)) from error
    except OSError as error:
        from wherry.errors import InvalidInput

        raise InvalidInput(f"open {path}: {(error.strerror or str(error)).lower()}") from error
    for line in text.split("\n"):
        kept = line.removesuffix("\r").lstrip()
        if kept and not kept.startswith("#"):
            _check(kept, path)
            yield kept


def _check(line: str, path: str) -> None:
    name = line.partition("=")[0]
    problem = "no variable name" if not name else "contains whitespaces" if set(name) & set(" \t") else ""
    if problem:
        from wherry.errors import InvalidInput

        raise InvalidInput(
            f"invalid env file ({path}): {problem} on line '{line}'"
            if not name
            else f"invalid env file ({path}): variable '{name}' {problem}"
        )


def read_env_file(path: str) -> list[str]:
    """Read ``NAME=value`` lines; a lone ``NAME`` takes our own value, and is left out if we have none.

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
