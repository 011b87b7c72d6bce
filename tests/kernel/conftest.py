"""Fixtures of the tests that need the kernel."""

from __future__ import annotations

from support.runtime_fixtures import box

__all__ = ["box"]
