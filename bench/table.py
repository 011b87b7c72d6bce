"""The table that people read, and the file that programs read."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Row

if TYPE_CHECKING:
    from bench.sides import Side

HEAD = "| same work, same machine, one run | Docker | wherry | ratio | target | met |\n|---|---:|---:|---:|---:|---|"


def markdown(rows: list[Row]) -> str:
    """All rows as a Markdown table; what neither side did stands below it."""
    compared = [row for row in rows if {"docker", "wherry"} & set(row.samples)]
    others = [row for row in rows if row not in compared]
    figures = [f"{row.title} {shown(row.value(name), row.unit)}" for row in others for name in row.samples]
    below = [f"\nFor orientation: {', '.join(figures)}."] if figures else []
    return "\n".join([HEAD, *(line(row) for row in compared), *below])


def line(row: Row) -> str:
    """One row."""
    docker, wherry = row.value("docker"), row.value("wherry")
    ratio = ""
    if docker and wherry and min(docker, wherry) > 0:  # what something adds can be less than what is measured by chance
        better = wherry / docker if row.at_least else docker / wherry
        ratio = f"{better:.1f}" if better >= 1.05 else f"{better:.2f}"
    verdict = {True: "yes", False: "**no**", None: ""}[row.met]
    limit = "" if row.limit is None else f"{'≥' if row.at_least else '≤'} {shown(row.limit, row.unit)}"
    title = f"{row.title} ({row.remark})" if row.remark else row.title
    return f"| {title} | {shown(docker, row.unit)} | {shown(wherry, row.unit)} | {ratio} | {limit} | {verdict} |"


def shown(value: float | None, unit: str) -> str:
    """A figure with three significant digits, or nothing."""
    if value is None:
        return ""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def facts(running: list[Side], *, quick: bool) -> dict[str, object]:
    """Under what circumstances the figures came about."""
    versions = {side.name: side.docker("version", "--format", "{{.Server.Version}}").strip() for side in running}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "quick": quick,
    }


def write(target: Path, rows: list[Row], circumstances: dict[str, object]) -> None:
    """Write every sample as JSON."""
    listed = [
        {"title": row.title, "unit": row.unit, "limit": row.limit, "met": row.met, "remark": row.remark,
         "median": {side: row.value(side) for side in row.samples}, "samples": row.samples}
        for row in rows
    ]  # fmt: skip
    target.write_text(json.dumps({**circumstances, "rows": listed}, indent=1) + "\n")
