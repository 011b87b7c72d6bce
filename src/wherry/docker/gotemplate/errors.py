"""The errors of templates."""

from __future__ import annotations

__all__ = ["TemplateError"]


class TemplateError(ValueError):
    """A template that cannot be parsed, or that uses a member that the data does not have.

    :param message: in Go's words, which people search the web for.
    """
