"""The templates of ``--format`` and of the log option ``tag``: Go's ``text/template``, as far as its manual says.

    Template("{{.Name}}: {{range .Ports}}{{.}} {{end}}").render({"Name": "web", "Ports": [80, 443]})

The data is what JSON has: dicts, lists, strings, numbers, booleans, None; and functions, which a template calls as
methods. The only evaluator on PyPI wraps Go's own through C. Source: the documentation of Go's package text/template.
"""

from __future__ import annotations

from wherry.docker.gotemplate.errors import TemplateError
from wherry.docker.gotemplate.template import Template

__all__ = ["Template", "TemplateError"]
