"""Fixtures of the tests that need the kernel."""

from __future__ import annotations

from support.runtime_fixtures import box, patient

__all__ = ["box", "patient"]
