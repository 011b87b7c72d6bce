"""What the daemon asks of the client while a build runs, and the answers: each one has a thread and a connection."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from wherry.cli.build.caches import CacheDirectory
    from wherry.cli.build.context import DirectoryArchive
    from wherry.cli.build.layouts import Blobs
    from wherry.cli.build.outputs import Output
    from wherry.client.client import Client

__all__ = ["Calls"]

_PATIENCE = 10.0  #: seconds for answers to end when the build was given up, unless something here holds them up


class Calls:
    """Answers calls. What is under way at the end of the block is waited for: the end of the build ends it, too.

    :param connect: makes a client for one thread.
    :param outputs: where the result goes.
    :param directories: contexts beside the main one, by their names.
    :param agents: sockets of SSH agents, by their IDs.
    :param stores: OCI layouts and directories with cache, by their names.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        outputs: Sequence[Output],
        directories: Mapping[str, DirectoryArchive],
        agents: Mapping[str, str],
        stores: Mapping[str, Blobs],
    ) -> None:
        self._connect = connect
        self._outputs = outputs
        self._directories = directories
        self._agents = agents
        self._stores = stores
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.join(None if error is None else _PATIENCE)

    def take(self, message: dict[str, Any]) -> bool:
        """Answer a message, if it is a call. :returns: whether it is."""
        aux = message.get("aux") or {}
        if aux.get("type") != "call":
            return False
        thread = threading.Thread(target=self._answer, args=(aux,), daemon=True)
        if aux.get("kind") != "agent":  # which may wait for somebody's finger, and nobody for it
            self._threads.append(thread)
        thread.start()
        return True

    def check(self, *, failed: bool) -> None:
        """Raise what went wrong here.

        :param failed: whether the daemon has said that the build failed: then what it said to a call is no news.
        """
        from wherry.client.error_response import ErrorResponse
        from wherry.errors import Unavailable

        for error in self._errors:
            is_daemons = isinstance(error, Unavailable | ConnectionError) or isinstance(error.__cause__, ErrorResponse)
            if not (failed and is_daemons):
                raise error

    def _answer(self, aux: dict[str, Any]) -> None:
        try:
            with self._connect() as client:
                self._carry_out(client, aux)
        except BaseException as error:
            self._errors.append(error)  # raised by `check`

    def _carry_out(self, client: Client, aux: dict[str, Any]) -> None:
        token = str(aux.get("token", ""))
        if aux.get("kind") == "output":
            with client.builds.answer(token) as response:
                self._output(aux).write(response)
        elif aux.get("kind") == "directory":
            client.builds.answer(token, self._directory(aux).archive()).read()
        elif aux.get("kind") == "blob":
            client.builds.answer(token, self._blobs(aux).blob(str(aux.get("digest", "")))).read()
        elif aux.get("kind") == "size":
            size = self._cache(aux).size(str(aux.get("digest", "")))
            client.builds.answer(token, [b"null" if size is None else b"%d" % size]).read()
        elif aux.get("kind") == "store":
            with client.builds.answer(token) as response:
                self._cache(aux, stores=True).store(str(aux.get("digest", "")), response.chunks())
        elif aux.get("kind") == "agent":
            self._forward(client, token, self._agent(aux))

    def _output(self, aux: dict[str, Any]) -> Output:
        number = str(aux.get("number", ""))
        outputs = {str(at): one for at, one in enumerate(self._outputs) if one.destination}
        if number not in outputs:
            from wherry.errors import Unavailable

            raise Unavailable(f"the daemon sends an output that nobody asked for: {number[:20]!r}")
        return outputs[number]

    def _directory(self, aux: dict[str, Any]) -> DirectoryArchive:
        name = str(aux.get("name", ""))
        if name not in self._directories:
            from wherry.errors import Unavailable

            raise Unavailable(f"the daemon asks for a directory that nobody offered: {name[:80]!r}")
        return self._directories[name]

    def _blobs(self, aux: dict[str, Any]) -> Blobs:
        name = str(aux.get("store", ""))
        if name not in self._stores:
            from wherry.errors import Unavailable

            raise Unavailable(f"the daemon asks for an OCI layout that nobody offered: {name[:80]!r}")
        return self._stores[name]

    def _cache(self, aux: dict[str, Any], *, stores: bool = False) -> CacheDirectory:
        from wherry.cli.build.caches import CacheDirectory

        found = self._blobs(aux)
        if not isinstance(found, CacheDirectory) or (stores and not found.is_target):
            from wherry.errors import Unavailable

            raise Unavailable(f"the daemon stores cache where nobody wants it: {found.root!r}")
        return found

    def _agent(self, aux: dict[str, Any]) -> str:
        name = str(aux.get("id", ""))
        if name not in self._agents:
            from wherry.errors import Unavailable

            raise Unavailable(f"the daemon asks for an SSH agent that nobody offered: {name[:80]!r}")
        return self._agents[name]

    @staticmethod
    def _forward(client: Client, token: str, path: str) -> None:
        """One connection to an agent; that it ends is for who asked it to notice."""
        from contextlib import closing, suppress

        from wherry.cli.build.agents import connect, forward
        from wherry.errors import WherryError

        with (
            suppress(WherryError, OSError),
            closing(client.builds.connect(token)) as stream,
            closing(connect(path)) as agent,
        ):
            forward(stream, agent)
