"""When a container that exited is started again, and how soon."""

from __future__ import annotations

from typing import Final

from wherry.engine import clock
from wherry.engine.container import Container

__all__ = ["next_delay", "wants_restart"]

_FIRST: Final = 0.1
_LONGEST: Final = 60.0
_LONG_ENOUGH: Final = 10_000_000_000  # nanoseconds: who ran this long did start properly


def wants_restart(container: Container) -> bool:
    """Whether the restart policy wants another start after the exit that just happened."""
    policy, state = container.host.restart_policy, container.state
    if policy is None or state.stopped_by_hand:
        return False
    if policy.name in ("always", "unless-stopped"):
        return True
    if policy.name != "on-failure" or state.exit_code == 0:
        return False
    return policy.maximum_retry_count == 0 or state.restart_count < policy.maximum_retry_count


def next_delay(container: Container) -> float:
    """Seconds until the next start: doubled each time, from 100 ms to a minute, and back after a run of ten seconds."""
    state = container.state
    ran = clock.from_rfc3339(state.finished_at) - clock.from_rfc3339(state.started_at)
    if ran >= _LONG_ENOUGH or not container.restart_delay:
        return _FIRST
    return min(container.restart_delay * 2, _LONGEST)
