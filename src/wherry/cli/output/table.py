"""Rows on standard output: as a table, as JSON lines, or through a template.

A row is a dict from a column's name, as templates know it, to its value. A value that is a function is a
method with arguments (``{{.Label "x"}}``).
"""

from __future__ import annotations

from wherry.cli.console import printable, template_filter, write_raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

__all__ = ["align", "align_wide", "render", "write_rows"]

PADDING = 3
MIN_WIDTH = 10
_ESCAPES = (("\\t", "\t"), ("\\n", "\n"))


def align(lines: Iterable[Sequence[str]]) -> str:
    """Align cells in columns; the last cell of a line is not padded."""
    return _aligned([_cell(cell) for cell in line] for line in lines)


def _cell(value: object) -> str:
    text: str = printable(value if isinstance(value, str) else str(value))
    return text


def _aligned(lines: Iterable[Sequence[str]]) -> str:
    rows = [list(line) for line in lines]
    count = max((len(row) for row in rows), default=0)
    widths = [
        max(MIN_WIDTH, PADDING + max((len(row[at]) for row in rows if at < len(row)), default=0)) for at in range(count)
    ]
    return "".join(
        "".join(cell.ljust(widths[at]) for at, cell in enumerate(row[:-1])) + "".join(row[-1:]) + "\n" for row in rows
    )


def render(rows: Iterable[Row], columns: Sequence[str], headers: Mapping[str, str], format: str) -> str:
    """Write rows.

    :param columns: the columns of the default table.
    :param headers: the heading of every column.
    :param format: empty or ``table``, ``table TEMPLATE``, ``json``, or a template for each row.
    :raises wherry.docker.gotemplate.TemplateError: the template is invalid.
    """
    if format in ("", "table"):
        lines = [[headers[name] for name in columns]]
        lines += [[row[name] for name in columns] for row in rows]
        return align(lines)
    if format == "json":
        from wherry.docker.gotemplate.printing import go_json

        return "".join(go_json(dict(sorted(row.items()))) + "\n" for row in rows)
    return _templated(rows, headers, format)


def _templated(rows: Iterable[Row], headers: Mapping[str, str], format: str) -> str:
    from wherry.docker.gotemplate import Template, TemplateError

    table = format.startswith("table")
    text = format.removeprefix("table").strip() if table else format
    for escape, meant in _ESCAPES:
        text = text.replace(escape, meant)
    try:
        template = Template(text, escape=str if table else template_filter())
    except TemplateError as error:
        raise TemplateError(f"failed to parse template: {error}") from None
    try:
        written = [template.render(dict(sorted((printable(row) if table else row).items()))) for row in rows]
    except TemplateError as error:
        raise TemplateError(f"failed to execute template: {error}") from None
    if not table:
        return "".join(line + "\n" for line in written)
    heading = Template(text, _HEADER_FUNCTIONS).render({**headers, "Label": lambda name: name})
    return _aligned(line.split("\t") for row in (heading, *written) for line in row.split("\n"))


# Functions that leave the headings unchanged.
_HEADER_FUNCTIONS = {
    name: lambda text, *_: text for name in ("json", "split", "join", "title", "lower", "upper", "truncate", "println")
}


def write_rows(rows: Iterable[Row], columns: Sequence[str], headers: Mapping[str, str], format: str = "") -> None:
    """Write rows to standard output; see :func:`render`."""
    write_raw(render(rows, columns, headers, format))


def align_wide(lines: Iterable[Sequence[str]]) -> str:
    """Align cells as ``docker top`` does: columns of at least 20 characters, one space between."""
    rows = [[_cell(cell) for cell in line] for line in lines]
    count = max((len(row) for row in rows), default=0)
    widths = [max(20, 1 + max((len(row[at]) for row in rows if at < len(row)), default=0)) for at in range(count)]
    return "".join(
        "".join(cell.ljust(widths[at]) for at, cell in enumerate(row[:-1])) + "".join(row[-1:]) + "\n" for row in rows
    )
