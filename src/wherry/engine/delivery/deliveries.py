"""The deliveries of an engine: one for each container that runs, or has not been delivered, and has such a driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from wherry.engine.container.log_subject import subject_of
from wherry.engine.log_drivers.config import effective_of
from wherry.engine.log_drivers.options import waits_when_full
from wherry.engine.log_drivers.table import driver_of, sender_of
from wherry.errors import SystemFault, WherryError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from wherry.engine.container.container import Container
    from wherry.engine.delivery.delivery import Delivery
    from wherry.engine.log_drivers.contract import Sender

__all__ = ["Deliveries"]

_log: Final = logging.getLogger(__name__)
_THREADS: Final = 2
_LAST: Final = 10  # seconds that a removal waits for what was not delivered yet, as long as something goes on
_STANDSTILL: Final = 3.0  # seconds in which nothing was sent
_STANDSTILL_WHEN_DOWN: Final = 1.0


class Deliveries:
    """Begins and ends deliveries. For containers with other drivers nothing is done, and nothing imported."""

    def __init__(self) -> None:
        self._deliveries: dict[str, Delivery] = {}
        self._pool: ThreadPoolExecutor | None = None

    async def begin(self, container: Container) -> None:
        """The container is about to be started.

        :raises SystemFault: the receiver does not answer, in Docker's words.
        """
        if not self._sends(container):
            return
        if await self._goes_on(container):
            return
        try:
            sender = self._sender(container)
            if sender.must_answer:
                await _open(sender)
        except (OSError, WherryError) as error:
            message = "failed to create task for container: failed to initialize logging driver"
            raise SystemFault(message, cause=str(error)) from error
        if await self._goes_on(container):
            await sender.close()
        else:
            self._start(container, sender)

    async def _goes_on(self, container: Container) -> bool:
        """Whether there is a delivery of an earlier run, which will deliver this one, too."""
        delivery = self._deliveries.get(container.id)
        if delivery is not None and delivery.is_leaving:
            await asyncio.wait([delivery.task])
            delivery = self._deliveries.get(container.id)
        if delivery is None or delivery.is_leaving or delivery.task.done():
            return False
        delivery.expect_run()
        return True

    async def resume(self, containers: Iterable[Container]) -> None:
        """Another daemon has begun these: go on."""
        for container in containers:
            if self._sends(container) and (container.state.is_alive or await self._is_behind(container)):
                self._resume(container)

    async def finish(self, container: Container) -> None:
        """The container is about to be removed: deliver the rest, if that does not take long."""
        if not self._sends(container):
            return
        if container.id not in self._deliveries and await self._is_behind(container):
            self._resume(container)
        delivery = self._deliveries.get(container.id)
        if delivery is None:
            return
        delivery.expect_no_run()
        end = asyncio.get_running_loop().time() + _LAST
        while asyncio.get_running_loop().time() < end:
            before = delivery.progress
            await asyncio.wait([delivery.task], timeout=_STANDSTILL_WHEN_DOWN if delivery.is_failing else _STANDSTILL)
            if delivery.task.done() or delivery.progress == before:
                break
        if not delivery.task.done():
            _log.warning("the end of a log was not sent container=%s", container.name)
        await delivery.close(patience=0)

    async def close(self) -> None:
        """The engine ends; another one goes on."""
        await asyncio.gather(*(delivery.close() for delivery in list(self._deliveries.values())))
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    # --- parts ------------------------------------------------------------------------------------

    def _sends(self, container: Container) -> bool:
        config = container.host.log_config
        return driver_of(config).sends(effective_of(config))

    def _sender(self, container: Container) -> Sender:
        config = container.host.log_config
        return sender_of(driver_of(config), subject_of(container, effective_of(config)))

    async def _is_behind(self, container: Container) -> bool:
        from wherry.engine.delivery.place import Place, is_behind  # noqa: PLC0415

        def look() -> bool:
            return is_behind(container.log_directory, Place(_path(container)).read())

        return await asyncio.to_thread(look)

    def _resume(self, container: Container) -> None:
        if container.id in self._deliveries:
            return
        try:
            delivery = self._start(container, self._sender(container))
        except WherryError as error:  # a later version's options
            _log.warning("logs are not sent container=%s error=%s", container.name, error)
            return
        if not container.state.is_alive:
            delivery.expect_no_run()

    def _start(self, container: Container, sender: Sender) -> Delivery:
        from wherry.engine.delivery.delivery import Delivery  # noqa: PLC0415
        from wherry.engine.delivery.place import Place  # noqa: PLC0415

        options = effective_of(container.host.log_config)
        delivery = Delivery(
            container.log, Place(_path(container)), sender, name=container.name, holds=waits_when_full(options),
            threads=self._threads(),
        )  # fmt: skip
        self._deliveries[container.id] = delivery
        delivery.task.add_done_callback(lambda task: self._ended(container, delivery, task))
        return delivery

    def _ended(self, container: Container, delivery: Delivery, task: asyncio.Task[None]) -> None:
        if self._deliveries.get(container.id) is delivery:
            del self._deliveries[container.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("logs are not sent any more container=%s error=%r", container.name, error, exc_info=error)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

            self._pool = ThreadPoolExecutor(_THREADS, "log-delivery")
        return self._pool


async def _open(sender: Sender) -> None:
    try:
        await sender.open()
    except BaseException:
        await sender.close()
        raise


def _path(container: Container) -> Path:
    return container.directory / "delivered"
