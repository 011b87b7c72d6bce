"""The end-to-end tests use the engine's fixtures."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("support.engine_fixtures")


@pytest.fixture(scope="session", autouse=True)
def _protected(protected: None) -> None:
    pass
