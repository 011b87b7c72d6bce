"""What a template can do wrong."""

from __future__ import annotations

__all__ = ["TemplateError"]


class TemplateError(ValueError):
    """A template that can't be read, or that asks the data for what it has not.

    :param message: in Go's words, which people search the web for.
    """
