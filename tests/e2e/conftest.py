"""The end-to-end tests use the engine's fixtures."""

from __future__ import annotations

from support.engine_fixtures import (
    _mortal,
    busybox,
    busybox_archive,
    clean,
    daemon,
    dockerd,
    mortal,
    own_daemon,
    protected,
)

__all__ = ["_mortal", "busybox", "busybox_archive", "clean", "daemon", "dockerd", "mortal", "own_daemon", "protected"]
