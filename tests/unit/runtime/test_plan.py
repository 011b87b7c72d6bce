"""A plan may come from a daemon of another version than the keeper's: its form belongs to a version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.errors import CorruptData
from wherry.runtime import plan
from wherry.runtime.plan import STEPS, VERSION, Plan

RECORDED = Path(__file__).resolve().parents[2] / "data/plan.json"


def test_the_form_of_a_plan_is_that_of_its_version() -> None:
    recorded = json.loads(RECORDED.read_text())
    form = {name: len(getattr(kind, "_fields", ())) for name, kind in sorted(STEPS.items())}
    assert (recorded["version"], recorded["fields"], recorded["steps"]) == (VERSION, len(Plan._fields), form), (
        "a keeper that runs would misread it: raise wherry.runtime.plan.VERSION, and record the new form"
    )


def test_a_plan_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = Plan().encode()
    monkeypatch.setattr(plan, "_HEADER", ("wherry plan", VERSION + 1, (3, 11)))
    with pytest.raises(CorruptData, match="another version"):
        Plan.decode(encoded)
