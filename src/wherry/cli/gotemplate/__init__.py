"""Templates as people type them behind ``--format``: Go's ``text/template``, as much of it as its manual describes.

    Template("{{.Name}}: {{range .Ports}}{{.}} {{end}}").render({"Name": "web", "Ports": [80, 443]})

The data is what JSON has: dicts, lists, strings, numbers, booleans, None; and functions, which a template calls as
methods. The only evaluator on PyPI wraps Go's own through C. Source: the documentation of Go's package text/template.
"""

from __future__ import annotations

from wherry.cli.gotemplate.errors import TemplateError
from wherry.cli.gotemplate.template import Template

__all__ = ["Template", "TemplateError"]
