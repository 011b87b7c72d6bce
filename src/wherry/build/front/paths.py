"""Paths in the words of a Dockerfile: always inside of a root, whatever ``..`` says."""

from __future__ import annotations

import posixpath

__all__ = ["absolute", "destination"]


def absolute(path: str, directory: str = "/") -> str:
    """A path from the root, without ``.``, ``..`` and a slash at the end."""
    return "/" + posixpath.normpath(posixpath.join("/", directory, path)).lstrip("/")


def destination(directory: str, path: str) -> str:
    """Where COPY copies to: a slash at the end stays, since it means a directory."""
    found = absolute(path, directory)
    is_directory = path in ("", ".") or path.endswith(("/", "/.", "/..")) or path == ".."
    return f"{found}/" if is_directory and found != "/" else found
