"""``journald``: to systemd's journal."""

from __future__ import annotations

from typing import Final

from wherry.engine.log_drivers.forwarding import forwarding_driver

__all__ = ["JOURNALD"]


JOURNALD: Final = forwarding_driver("journald", {}, "journald_sender.JournaldSender")
