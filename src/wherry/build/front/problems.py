"""Errors get the place in the Dockerfile that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange
from wherry.errors import InvalidInput, WherryError

__all__ = ["about", "located"]


@contextmanager
def located(ranges: tuple[SourceRange, ...]) -> Iterator[None]:
    """Whatever is wrong in here is wrong at a place in the Dockerfile.

    :raises DockerfileError: something is.
    """
    try:
        yield
    except DockerfileError as exc:
        if not exc.ranges:
            exc.ranges = ranges
        raise
    except WherryError as exc:
        raise DockerfileError(str(exc), ranges=ranges) from exc


@contextmanager
def about(file: str, source: bytes) -> Iterator[None]:
    """Errors in here are about a file.

    :raises DockerfileError: there is one that has a place in it.
    """
    try:
        yield
    except DockerfileError as exc:
        exc.file, exc.source = file, source
        raise
    except RecursionError as exc:
        raise InvalidInput(f"{file} is nested too deeply") from exc
