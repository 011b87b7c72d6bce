"""Containers, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from wherry.client.client import Client
    from wherry.client.transport import Response, Stream

    Filters = Mapping[str, Iterable[str]]

__all__ = ["Containers"]


def _path(ref: str, verb: str = "") -> str:
    if not ref.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid container name or ID: value is empty")
    return f"/containers/{escape(ref)}{verb}"


class Containers:
    """The containers of a daemon. ``ref`` is a name, an ID or the beginning of one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, body: Mapping[str, Any], *, name: str = "", platform: str = "") -> dict[str, Any]:
        """Make a container without starting it.

        :param body: the API's ContainerCreate body: ``Image``, ``Cmd``, ``HostConfig`` ...
        :returns: ``{"Id": ..., "Warnings": [...]}``
        """
        query = {"name": name or None, "platform": platform or None}
        return dict(self._client.json("POST", "/containers/create", query, json=body))

    def list(
        self, *, all: bool = False, limit: int = 0, size: bool = False, filters: Filters | None = None
    ) -> builtins.list[dict[str, Any]]:
        """List containers.

        :param all: those that don't run, too.
        :param limit: the newest n, whatever their state; 0 is no limit.
        :param size: count bytes (slow).
        """
        query = {"all": all, "limit": limit or None, "size": size, "filters": filters}
        return list(self._client.json("GET", "/containers/json", query))

    def inspect(self, ref: str, *, size: bool = False) -> dict[str, Any]:
        """Everything about one container."""
        return dict(self._client.json("GET", _path(ref, "/json"), {"size": size}))

    def start(self, ref: str, *, detach_keys: str = "") -> None:
        """Start it. A container that runs already is fine.

        :raises wherry.errors.CommandNotFound: never; what the program lacks is told by the message (see the API).
        """
        self._quietly(_path(ref, "/start"), {"detachKeys": detach_keys or None})

    def stop(self, ref: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Stop it: a signal, and after ``timeout`` seconds (negative: never) SIGKILL."""
        self._quietly(_path(ref, "/stop"), {"signal": signal or None, "t": timeout})

    def _quietly(self, path: str, query: Mapping[str, object]) -> None:
        """Do what may have been done before: 304 is as good as 204."""
        response = self._client.transport.request("POST", path, query)
        if response.status >= 400:
            from wherry.client.answers import failure

            raise failure(response.status, response.reason, response.read())
        response.read()

    def restart(self, ref: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Stop it and start it again."""
        self._client.do("POST", _path(ref, "/restart"), {"signal": signal or None, "t": timeout})

    def kill(self, ref: str, signal: str = "") -> None:
        """Send a signal, by default SIGKILL."""
        self._client.do("POST", _path(ref, "/kill"), {"signal": signal or None})

    def pause(self, ref: str) -> None:
        """Freeze all its processes."""
        self._client.do("POST", _path(ref, "/pause"))

    def unpause(self, ref: str) -> None:
        """Thaw them."""
        self._client.do("POST", _path(ref, "/unpause"))

    def rename(self, ref: str, name: str) -> None:
        """Give it another name."""
        self._client.do("POST", _path(ref, "/rename"), {"name": name})

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """Remove it and what it wrote; a running one only by force."""
        self._client.do("DELETE", _path(ref), {"force": force, "v": volumes, "link": link})

    def wait_begin(self, ref: str, condition: str = "") -> Response:
        """Begin to wait; returns when the daemon has taken note. The result is ``.json()`` of what is returned.

        :param condition: ``"not-running"``, ``"next-exit"`` or ``"removed"``.
        """
        return self._client.call("POST", _path(ref, "/wait"), {"condition": condition or None})

    def wait(self, ref: str, condition: str = "") -> dict[str, Any]:
        """Wait for the end. :returns: ``{"StatusCode": n}``, perhaps with ``{"Error": {"Message": ...}}``."""
        return dict(self.wait_begin(ref, condition).json())

    def attach(
        self,
        ref: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        stream: bool = True,
        logs: bool = False,
        detach_keys: str = "",
    ) -> Stream:
        """Connect to the container's standard streams."""
        query = {
            "stdin": stdin, "stdout": stdout, "stderr": stderr, "stream": stream, "logs": logs,
            "detachKeys": detach_keys or None,
        }  # fmt: skip
        return self._client.hijack(_path(ref, "/attach"), query)

    def logs(
        self,
        ref: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: str = "all",
        timestamps: bool = False,
        details: bool = False,
    ) -> Response:
        """Read what it wrote; the body is a (multiplexed) stream.

        :param since, until: seconds since the epoch, with a fraction.
        :param tail: number of lines, or ``"all"``.
        """
        query = {
            "stdout": stdout, "stderr": stderr, "follow": follow, "since": since or None, "until": until or None,
            "tail": tail, "timestamps": timestamps, "details": details,
        }  # fmt: skip
        return self._client.call("GET", _path(ref, "/logs"), query)

    def resize(self, ref: str, height: int, width: int) -> None:
        """Tell its terminal the size of ours, in characters."""
        self._client.do("POST", _path(ref, "/resize"), {"h": height, "w": width})

    def top(self, ref: str, ps_args: str = "") -> dict[str, Any]:
        """Its processes: ``{"Titles": [...], "Processes": [[...], ...]}``."""
        return dict(self._client.json("GET", _path(ref, "/top"), {"ps_args": ps_args or None}))

    def update(self, ref: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change limits and the restart policy. :returns: ``{"Warnings": [...]}``."""
        return dict(self._client.json("POST", _path(ref, "/update"), json=body) or {})

    def stats(self, ref: str, *, stream: bool = False, one_shot: bool = False) -> Iterator[dict[str, Any]]:
        """What it uses: one sample, or one each second.

        :param one_shot: without a first sample to compare the processor time with.
        """
        query = {"stream": "1" if stream else "0", "one-shot": one_shot}
        return self._client.call("GET", _path(ref, "/stats"), query).json_values()

    def changes(self, ref: str) -> builtins.list[dict[str, Any]]:
        """What it changed in its file system: ``{"Path", "Kind": 0 changed, 1 added, 2 deleted}``."""
        return list(self._client.json("GET", _path(ref, "/changes")) or [])

    def commit(
        self,
        ref: str,
        *,
        repo: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> str:
        """Make an image of it. :returns: the image's ID.

        :param changes: Dockerfile instructions, ``"CMD [...]"``.
        :param pause: whether it stands still meanwhile, if it runs.
        """
        query = {
            "container": ref, "repo": repo or None, "tag": tag or None, "author": author or None,
            "comment": comment or None, "changes": list(changes), "pause": "1" if pause else "0",
        }  # fmt: skip
        return str(self._client.json("POST", "/commit", query)["Id"])

    def export(self, ref: str) -> Response:
        """Its file system as a tar archive, in the body."""
        return self._client.call("GET", _path(ref, "/export"))

    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove all that don't run."""
        return dict(self._client.json("POST", "/containers/prune", {"filters": filters}))

    def explain(self, ref: str) -> dict[str, Any]:
        """What it shares, what isolates it, what limits it (wherry's own addition to the API)."""
        return dict(self._client.json("GET", _path(ref, "/explain")))
