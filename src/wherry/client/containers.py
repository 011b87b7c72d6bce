"""Containers, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import INSPECT_VERSION, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from wherry.client.requests import Requests
    from wherry.client.transport import Response, Stream

    Filters = Mapping[str, Iterable[str]]

__all__ = ["Containers"]


def _path(ref: str, verb: str = "") -> str:
    if not ref.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid container name or ID: value is empty")
    return f"/containers/{escape(ref)}{verb}"


class Containers:
    """The containers of a daemon. ``ref`` is a name, an ID or a prefix of an ID."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def create(self, body: Mapping[str, Any], *, name: str = "", platform: str = "") -> dict[str, Any]:
        """Create a container without starting it.

        :param body: the API's ContainerCreate body: ``Image``, ``Cmd``, ``HostConfig`` ...
        :returns: ``{"Id": ..., "Warnings": [...]}``
        """
        query = {"name": name or None, "platform": platform or None}
        return dict(self._requests.json("POST", "/containers/create", query, json=body))

    def list(
        self, *, all: bool = False, limit: int = 0, size: bool = False, filters: Filters | None = None
    ) -> builtins.list[dict[str, Any]]:
        """List containers.

        :param all: also stopped ones.
        :param limit: the newest n, whatever their state; 0 is no limit.
        :param size: count bytes (slow).
        """
        query = {"all": all, "limit": limit or None, "size": size, "filters": filters}
        return list(self._requests.json("GET", "/containers/json", query))

    def inspect(self, ref: str, *, size: bool = False) -> dict[str, Any]:
        """Inspect a container, in the form of `INSPECT_VERSION`."""
        return dict(self._requests.json("GET", INSPECT_VERSION + _path(ref, "/json"), {"size": size}))

    def start(self, ref: str, *, detach_keys: str = "", checkpoint: str = "", checkpoint_dir: str = "") -> None:
        """Start a container. It is no error when it runs already.

        :param checkpoint: by which it goes on where it was; and the directory of that, if it is not the container's.
        :raises wherry.errors.WherryError: it cannot be started; the message says why (see the API).
        """
        query = {"detachKeys": detach_keys, "checkpoint": checkpoint, "checkpoint-dir": checkpoint_dir}
        self._quietly(_path(ref, "/start"), {name: value or None for name, value in query.items()})

    def stop(self, ref: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Stop a container: send a signal, and SIGKILL after ``timeout`` seconds (negative: never)."""
        self._quietly(_path(ref, "/stop"), {"signal": signal or None, "t": timeout})

    def _quietly(self, path: str, query: Mapping[str, object]) -> None:
        """POST a request for which 304 (not modified) is a success like 204."""
        response = self._requests.transport.request("POST", path, query)
        if response.status >= 400:
            from wherry.client.error_response import error_from_response

            raise error_from_response(response.status, response.reason, response.read())
        response.read()

    def restart(self, ref: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Restart a container."""
        self._requests.do("POST", _path(ref, "/restart"), {"signal": signal or None, "t": timeout})

    def kill(self, ref: str, signal: str = "") -> None:
        """Send a signal, by default SIGKILL."""
        self._requests.do("POST", _path(ref, "/kill"), {"signal": signal or None})

    def pause(self, ref: str) -> None:
        """Pause a container's processes."""
        self._requests.do("POST", _path(ref, "/pause"))

    def unpause(self, ref: str) -> None:
        """Unpause a container's processes."""
        self._requests.do("POST", _path(ref, "/unpause"))

    def rename(self, ref: str, name: str) -> None:
        """Rename a container."""
        self._requests.do("POST", _path(ref, "/rename"), {"name": name})

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """Remove a container and its writable layer; a running one only with ``force``."""
        self._requests.do("DELETE", _path(ref), {"force": force, "v": volumes, "link": link})

    def wait_begin(self, ref: str, condition: str = "") -> Response:
        """Begin to wait; returns once the daemon is waiting. The result is the response's ``.json()``.

        :param condition: ``"not-running"``, ``"next-exit"`` or ``"removed"``.
        """
        return self._requests.call("POST", _path(ref, "/wait"), {"condition": condition or None})

    def wait(self, ref: str, condition: str = "") -> dict[str, Any]:
        """Wait for a container. :returns: ``{"StatusCode": n}``, perhaps with ``{"Error": {"Message": ...}}``."""
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
        """Attach to a container's standard streams."""
        query = {
            "stdin": stdin, "stdout": stdout, "stderr": stderr, "stream": stream, "logs": logs,
            "detachKeys": detach_keys or None,
        }  # fmt: skip
        return self._requests.hijack(_path(ref, "/attach"), query)

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
        """Fetch the logs; the body is a (multiplexed) stream.

        :param since, until: seconds since the epoch, with a fraction.
        :param tail: number of lines, or ``"all"``.
        """
        query = {
            "stdout": stdout, "stderr": stderr, "follow": follow, "since": since or None, "until": until or None,
            "tail": tail, "timestamps": timestamps, "details": details,
        }  # fmt: skip
        return self._requests.call("GET", _path(ref, "/logs"), query)

    def resize(self, ref: str, height: int, width: int) -> None:
        """Resize the container's terminal; sizes in characters."""
        self._requests.do("POST", _path(ref, "/resize"), {"h": height, "w": width})

    def top(self, ref: str, ps_args: str = "") -> dict[str, Any]:
        """List the processes: ``{"Titles": [...], "Processes": [[...], ...]}``."""
        return dict(self._requests.json("GET", _path(ref, "/top"), {"ps_args": ps_args or None}))

    def update(self, ref: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Update limits and the restart policy. :returns: ``{"Warnings": [...]}``."""
        return dict(self._requests.json("POST", _path(ref, "/update"), json=body) or {})

    def stats(self, ref: str, *, stream: bool = False, one_shot: bool = False) -> Iterator[dict[str, Any]]:
        """Resource usage statistics: one sample, or one per second.

        :param one_shot: without a first sample to compare the processor time with.
        """
        query = {"stream": "1" if stream else "0", "one-shot": one_shot}
        return self._requests.call("GET", _path(ref, "/stats"), query).json_values()

    def changes(self, ref: str) -> builtins.list[dict[str, Any]]:
        """Changes to the filesystem: ``{"Path", "Kind": 0 changed, 1 added, 2 deleted}``."""
        return list(self._requests.json("GET", _path(ref, "/changes")) or [])

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
        """Create an image from a container. :returns: the image's ID.

        :param changes: Dockerfile instructions, ``"CMD [...]"``.
        :param pause: pause the container during the commit.
        """
        query = {
            "container": ref, "repo": repo or None, "tag": tag or None, "author": author or None,
            "comment": comment or None, "changes": list(changes), "pause": "1" if pause else "0",
        }  # fmt: skip
        return str(self._requests.json("POST", "/commit", query)["Id"])

    def export(self, ref: str) -> Response:
        """Export the filesystem; the body is a tar archive."""
        return self._requests.call("GET", _path(ref, "/export"))

    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove all stopped containers."""
        return dict(self._requests.json("POST", "/containers/prune", {"filters": filters}))

    def explain(self, ref: str) -> dict[str, Any]:
        """Isolation, shared resources and limits of a container (wherry's addition to the API)."""
        return dict(self._requests.json("GET", _path(ref, "/explain")))
