"""``--format`` of a single object: JSON, or a Go template."""

from __future__ import annotations

from wherry.cli.console import template_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["formatter"]


def formatter(format: str) -> Callable[[Any], str]:
    """The function that formats an object.

    :param format: ``json``, or a template.
    :raises wherry.docker.gotemplate.TemplateError: the template is invalid.
    """
    if format == "json":
        from wherry.docker.gotemplate.printing import go_json

        return go_json
    from wherry.docker.gotemplate import Template
    from wherry.docker.gotemplate.go_types import with_go_types

    template = Template(format, escape=template_filter())
    return lambda value: template.render(with_go_types(value))
