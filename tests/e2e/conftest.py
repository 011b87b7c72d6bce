"""The end-to-end tests use the engine's fixtures."""

from __future__ import annotations

from support.engine_fixtures import busybox, busybox_archive, clean, daemon, dockerd, own_daemon, protected

__all__ = ["busybox", "busybox_archive", "clean", "daemon", "dockerd", "own_daemon", "protected"]
