"""The table that people read, and the file that programs read."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import interpreter
from bench.measure import Row

if TYPE_CHECKING:
    from bench.sides import Side

HEAD = "| same work, same machine, one run | Docker | wherry | ratio | target | met |\n|---|---:|---:|---:|---:|---|"
SHORT_HEAD = "| same work, same machine | Docker | wherry | ratio |\n|---|---:|---:|---:|"


def markdown(rows: list[Row]) -> str:
    """All rows as a Markdown table; rows of a third program stand below it."""
    sides = [row for row in rows if {"docker", "wherry"} & set(row.samples)]
    others = [row for row in rows if row not in sides]
    figures = [f"{row.title} {shown(row.value(name), row.unit)}" for row in others for name in row.samples]
    below = [f"\nFor orientation: {', '.join(figures)}."] if figures else []
    return "\n".join([HEAD, *(line(row) for row in sides), *below])


def short(rows: list[Row]) -> str:
    """A few rows without their targets, for the README."""
    return "\n".join([SHORT_HEAD, *(compared(row) for row in rows)])


def line(row: Row) -> str:
    """One row with its target."""
    verdict = {True: "yes", False: "**no**", None: ""}[row.met]
    limit = "" if row.limit is None else f"{'≥' if row.at_least else '≤'} {shown(row.limit, row.unit)}"
    return f"{compared(row)} {limit} | {verdict} |"


def compared(row: Row) -> str:
    """The title, both figures and their ratio: greater than 1 where wherry does better."""
    docker, wherry = row.value("docker"), row.value("wherry")
    ratio = ""
    if docker and wherry and min(docker, wherry) > 0:  # a difference of two measurements can be negative by chance
        better = wherry / docker if row.at_least else docker / wherry
        ratio = f"{better:.1f}" if better >= 1.05 else f"{better:.2f}"
    title = f"{row.title} ({row.remark})" if row.remark else row.title
    return f"| {title} | {shown(docker, row.unit)} | {shown(wherry, row.unit)} | {ratio} |"


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
        "python": interpreter.build(),
        "versions": versions,
        "quick": quick,
    }


def write(target: Path, rows: list[Row], circumstances: dict[str, object]) -> None:
    """Write every sample as JSON; rows of earlier runs that were not measured now stay, each with its time."""
    listed = {
        row.title: {
            "title": row.title, "at": circumstances["at"], "python": circumstances["python"],
            "unit": row.unit, "limit": row.limit, "at_least": row.at_least, "met": row.met,
            "remark": row.remark, "median": {side: row.value(side) for side in row.samples}, "samples": row.samples,
        }
        for row in rows
    }  # fmt: skip
    kept = json.loads(target.read_text())["rows"] if target.exists() else []
    merged = {row["title"]: row for row in kept} | listed
    target.write_text(json.dumps({**circumstances, "rows": list(merged.values())}, indent=1) + "\n")


def read(source: Path) -> list[Row]:
    """The rows that ``write`` wrote."""
    return [
        Row(row["title"], row["unit"], row["samples"], row["limit"], row["remark"], at_least=row["at_least"])
        for row in json.loads(source.read_text())["rows"]
    ]
