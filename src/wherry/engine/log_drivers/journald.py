"""``journald``: to systemd's journal."""

from __future__ import annotations

from typing import Final

from wherry.engine.log_drivers.contract import Sender, Subject
from wherry.engine.log_drivers.forwarding import forwarding_driver

__all__ = ["JOURNALD"]


def _sender(subject: Subject) -> Sender:
    from wherry.engine.log_drivers.journald_sender import JournaldSender  # noqa: PLC0415

    return JournaldSender(subject)


JOURNALD: Final = forwarding_driver("journald", {}, _sender)
