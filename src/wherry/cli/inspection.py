"""What ``inspect`` prints, of whatever kind the thing is."""

from __future__ import annotations

import sys

from wherry.cli.leave import Leave
from wherry.errors import NotFound, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["print_inspected"]


def print_inspected(refs: Iterable[str], find: Callable[[str], Any], format: str) -> int:
    """Print everything about some things.

    :param find: asks the daemon; raises :class:`wherry.errors.WherryError` when it can't.
    :param format: empty or ``json``, else a template.
    :returns: 1 when one was not found; the others are printed all the same.
    """
    template = None
    if format and format != "json":
        from wherry.cli.gotemplate import Template, TemplateError

        try:
            template = Template(format)
        except TemplateError as error:
            raise Leave(1, f"template parsing error: {error}") from None
    found, failures = _find_all(refs, find)
    if template is None:
        sys.stdout.write(_as_json(found, compact=format == "json"))
    else:
        sys.stdout.write("".join(_rendered(template.render, one) + "\n" for one in found))
    sys.stdout.flush()
    sys.stderr.write("".join(f"{failure}\n" for failure in failures))
    return 1 if failures else 0


def _rendered(render: Callable[[Any], str], one: Any) -> str:
    from wherry.cli.gotemplate import TemplateError

    try:
        return render(one)
    except TemplateError as error:
        sys.stdout.flush()
        raise Leave(1, f"template parsing error: {error}") from None


def _find_all(refs: Iterable[str], find: Callable[[str], Any]) -> tuple[list[Any], list[str]]:
    from wherry.cli.report import sentence

    found, failures = [], []
    for ref in refs:
        try:
            found.append(find(ref))
        except NotFound as error:
            failures.append(str(error) if error.__cause__ is None else sentence(error))
        except WherryError as error:
            failures.append(sentence(error))
    return found, failures


def _as_json(found: list[Any], *, compact: bool) -> str:
    import json

    if compact:
        return json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"
    return json.dumps(found, indent=4, ensure_ascii=False) + "\n"
