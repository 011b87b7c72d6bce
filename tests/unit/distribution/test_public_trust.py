"""The machine's certificate authorities: read once, and again when they have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.distribution.client.endpoints import public_trust, trust


def test_the_machines_authorities_are_read_again_when_they_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    first = public_trust()
    assert trust("a.example", (tmp_path,), verify=True) is first
    os.utime(authorities, (1, 1))
    second = public_trust()
    assert second is not first
    assert trust("a.example", (tmp_path,), verify=True) is second


def test_what_is_configured_for_a_registry_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "a.example").mkdir()
    (tmp_path / "a.example/readme").touch()
    assert trust("a.example", (tmp_path,), verify=True) is not public_trust()
    assert trust("b.example", (tmp_path,), verify=False) is not public_trust()
