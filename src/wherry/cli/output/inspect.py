"""The output of ``inspect`` for all types of objects."""

from __future__ import annotations

from wherry import legible
from wherry.cli.console import flush, template_filter, write_error_page, write_raw
from wherry.cli.exit import Exit
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["print_inspected"]


def print_inspected(refs: Iterable[str], find: Callable[[str], Any], format: str) -> int:
    """Print the objects as JSON or through a template.

    :param find: requests an object; raises :class:`wherry.errors.WherryError` on failure.
    :param format: empty or ``json``, else a template.
    :returns: 1 when one was not found; the others are printed all the same.
    """
    template = None
    if format and format != "json":
        from wherry.docker.gotemplate import Template, TemplateError
        from wherry.docker.gotemplate.go_types import with_go_types

        try:
            template = Template(format, escape=template_filter())
        except TemplateError as error:
            raise Exit(64, f"template parsing error: {error}") from None
    found, failures = _find_all(refs, find)
    if template is None:
        write_raw(_as_json(found, compact=format == "json"))
    else:
        write_raw("".join(_rendered(template.render, with_go_types(one)) + "\n" for one in found))
    flush()
    write_error_page("".join(f"{failure}\n" for failure in failures))
    return 1 if failures else 0


def _rendered(render: Callable[[Any], str], one: Any) -> str:
    from wherry.docker.gotemplate import TemplateError

    try:
        return render(one)
    except TemplateError as error:
        write_raw("\n")
        flush()
        raise Exit(1, f"template parsing error: {error}") from None


def _find_all(refs: Iterable[str], find: Callable[[str], Any]) -> tuple[list[Any], list[str]]:
    from wherry.cli.errors import error_message

    found, failures = [], []
    for ref in refs:
        try:
            found.append(find(ref))
        except WherryError as error:
            failures.append(error_message(error))
    return found, failures


def _as_json(found: list[Any], *, compact: bool) -> str:
    import json

    if compact:
        return legible.in_json(json.dumps(found, ensure_ascii=False, separators=(",", ":"))) + "\n"
    return legible.in_json(json.dumps(found, indent=4, ensure_ascii=False)) + "\n"
