"""Drivers of volumes that are programs of their own: Docker's volume plugin protocol.

A plugin is found by its name: a socket in /run/docker/plugins, or a file that has its address in /etc/docker/plugins or
/usr/lib/docker/plugins. It is asked by POST requests with JSON (docs.docker.com, "Docker volume plugins").

It may hang, lie or end at any moment. So whatever it is asked has a limit in time and in size, and what it says is
looked at before it is used. That it is at work for root is the administrator's decision: a mount point may be anywhere
on the host.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from wherry.errors import InvalidInput, NotFound, SystemFault, Unavailable
from wherry.legible import bounded, line
from wherry.volumes.contract import DriverVolume, Mounted
from wherry.volumes.model import LOCAL, Volume

if TYPE_CHECKING:
    import ssl

__all__ = ["PluginDriver", "Plugins"]

SOCKETS: Final = Path("/run/docker/plugins")
SPECIFICATIONS: Final = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,200}")
_TYPE: Final = "application/vnd.docker.plugins.v1.2+json"
_VOLUME_DRIVER: Final = "VolumeDriver"
_PATIENCE: Final = 60.0  # seconds, as dockerd has for most
_CONNECT: Final = 5.0
_LARGEST: Final = 16 << 20  # of an answer
_SHOWN: Final = 500  # characters of what a plugin says of an error
_LONGEST_PATH: Final = 4096
_LARGEST_FILE: Final = 1 << 16
_SCOPES: Final = ("local", "global")


class _Tls(Struct, rename="pascal", kw_only=True):
    insecure_skip_verify: bool = False
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = ""
    key_file: str = ""


class _Specification(Struct, rename="pascal", kw_only=True):
    """A file NAME.json."""

    name: str = ""
    addr: str = ""
    tls_config: _Tls | None = msgspec.field(default=None, name="TLSConfig")


class _Found(Struct, rename="pascal", kw_only=True):
    name: str = ""
    mountpoint: str = ""
    created_at: str = ""
    status: dict[str, Any] | None = None


class _Capabilities(Struct, rename="pascal", kw_only=True):
    scope: str = ""


class _Answer(Struct, rename="pascal", kw_only=True):
    """What all of a plugin's answers may have."""

    err: str = ""
    implements: list[str] | None = None
    mountpoint: str = ""
    volume: _Found | None = None
    volumes: list[_Found] | None = None
    capabilities: _Capabilities | None = None


class _NoSuchMethod(Exception):
    """The plugin answers, but does not know the method."""


class PluginDriver:
    """A `wherry.volumes.contract.VolumeDriver` behind a socket.

    :param name: of the plugin.
    :param address: ``unix:///path``, ``tcp://host:port`` or ``http(s)://host:port``.
    :param tls: for an encrypted connection.
    :param patience: seconds for each question.
    """

    def __init__(self, name: str, address: str, tls: ssl.SSLContext | None = None, patience: float = _PATIENCE) -> None:
        self._name = name
        self._address = address
        self._tls = tls
        self._patience = patience
        self._scope = ""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        return self._name

    async def activate(self) -> bool:
        """Whether it answers that it is a driver of volumes."""
        answer = await self._ask("Plugin.Activate", None)
        return _VOLUME_DRIVER in (answer.implements or ())

    # --- the contract -----------------------------------------------------------------------------

    async def scope(self) -> str:
        """What it says of where its volumes are known; ``local`` where that is nothing that there is."""
        if not self._scope:
            try:
                answer = await self._ask("VolumeDriver.Capabilities", {})
            except _NoSuchMethod:  # as plugins of Docker's first versions
                self._scope = LOCAL
            else:
                said = answer.capabilities.scope.lower() if answer.capabilities else ""
                self._scope = said if said in _SCOPES else LOCAL
        return self._scope

    def check(self, volume: Volume) -> None:
        """Check the name; the options are the plugin's affair."""
        if not volume.name or "\0" in volume.name:
            raise InvalidInput(f"invalid name of a volume: '{_shown(volume.name)}'")

    async def create(self, volume: Volume) -> None:
        """Make a volume; see the contract."""
        await self._do("Create", {"Name": volume.name, "Opts": volume.options})

    async def remove(self, volume: Volume) -> None:
        """Remove a volume; see the contract."""
        await self._do("Remove", {"Name": volume.name})

    async def get(self, name: str) -> DriverVolume:
        """Look one up; see the contract."""
        try:
            answer = await self._ask("VolumeDriver.Get", {"Name": name})
        except _NoSuchMethod:
            return DriverVolume(name)
        if answer.err or answer.volume is None or answer.volume.name != name:
            raise NotFound("no such volume", cause=_shown(answer.err) or None)
        return _volume(answer.volume)

    async def list(self) -> Sequence[DriverVolume]:
        """All that the plugin has; see the contract."""
        try:
            answer = await self._do("List", {})
        except NotFound:
            return ()
        return [_volume(one) for one in answer.volumes or ()]

    async def path(self, volume: Volume) -> str:
        """Where it is on the host; see the contract."""
        path = (await self._do("Path", {"Name": volume.name})).mountpoint
        return path if _is_place(path) else ""

    async def mount(self, volume: Volume, user: str) -> Mounted:
        """Have it mounted; see the contract.

        :raises SystemFault: what the plugin says is no place on the host.
        """
        answer = await self._do("Mount", {"Name": volume.name, "ID": user})
        path = answer.mountpoint
        if not _is_place(path):
            raise SystemFault(
                f"plugin {self._name} has mounted volume {volume.name} nowhere", cause=f"it says '{_shown(path)}'"
            )
        return Mounted(path)

    async def unmount(self, volume: Volume, user: str) -> None:
        """A user does not need it any more; see the contract."""
        await self._do("Unmount", {"Name": volume.name, "ID": user})

    # --- questions --------------------------------------------------------------------------------

    async def _do(self, method: str, question: Mapping[str, object]) -> _Answer:
        """Ask a question to which an error may be the answer.

        :raises SystemFault: it is.
        """
        method = f"{_VOLUME_DRIVER}.{method}"
        try:
            answer = await self._ask(method, question)
        except _NoSuchMethod:
            raise NotFound(f"plugin {self._name} has no method {method}") from None
        if answer.err:
            raise SystemFault(method, cause=_shown(answer.err))
        return answer

    async def _ask(self, method: str, question: Mapping[str, object] | None) -> _Answer:
        """Ask a question.

        :raises Unavailable: there is no answer in time, or none at all.
        :raises SystemFault: the answer is none.
        """
        import aiohttp  # noqa: PLC0415 - a client, only where somebody has a plugin

        try:
            async with asyncio.timeout(self._patience):
                status, data = await self._exchange(method, question)
        except TimeoutError:
            what = f"plugin {self._name} does not answer {method} within {self._patience:g} s"
            raise Unavailable(what) from None
        except (aiohttp.ClientError, OSError) as exc:
            raise Unavailable(f"plugin {self._name} does not answer {method}", cause=_reason(exc)) from exc
        if status == 404:
            raise _NoSuchMethod
        try:
            answer = msgspec.json.decode(data or b"{}", type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            if status == 200:
                raise SystemFault(f"plugin {self._name} answers {method} with nonsense", cause=str(exc)) from exc
            answer = _Answer()
        if status != 200:
            cause = _shown(answer.err) or _shown(data.decode("utf-8", "replace")) or f"status {status}"
            raise SystemFault(method, cause=cause)
        return answer

    async def _exchange(self, method: str, question: Mapping[str, object] | None) -> tuple[int, bytes]:
        import aiohttp  # noqa: PLC0415

        base, connector = self._connector()
        body = b"" if question is None else msgspec.json.encode(question)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        headers = {"Accept": _TYPE, "Content-Type": _TYPE}
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            session.post(f"{base}/{method}", data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, await _whole(response)

    def _connector(self) -> tuple[str, Any]:
        import aiohttp  # noqa: PLC0415

        parts = urlsplit(self._address)
        if parts.scheme == "unix":
            return "http://plugin", aiohttp.UnixConnector(path=parts.path, force_close=True)
        scheme = "https" if self._tls is not None or parts.scheme == "https" else "http"
        ssl_context = self._tls if self._tls is not None else True
        return f"{scheme}://{parts.netloc}", aiohttp.TCPConnector(force_close=True, ssl=ssl_context)


def _reason(error: Exception) -> str:
    """Why there is no answer, in words that are no library's."""
    import aiohttp  # noqa: PLC0415

    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it has closed the connection"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what it says is not HTTP"
    return _shown(str(error))


async def _whole(response: Any) -> bytes:
    """All of an answer.

    :raises OSError: it is too large.
    """
    found = bytearray()
    async for piece in response.content.iter_any():
        found += piece
        if len(found) > _LARGEST:
            raise OSError(f"its answer has more than {_LARGEST} bytes")
    return bytes(found)


def _volume(found: _Found) -> DriverVolume:
    return DriverVolume(found.name, found.mountpoint, found.created_at, found.status)


def _is_place(path: str) -> bool:
    return path.startswith("/") and "\0" not in path and len(path) <= _LONGEST_PATH


def _shown(text: str) -> str:
    return str(line(bounded(text.strip(), _SHOWN)))


class Plugins:
    """Finds plugins where Docker looks for them.

    :param sockets: the directory of sockets: NAME.sock, or NAME/NAME.sock.
    :param specifications: directories of files NAME.spec, which have an address, and NAME.json.
    """

    def __init__(
        self,
        sockets: Path = SOCKETS,
        specifications: Sequence[Path] = SPECIFICATIONS,
        patience: float = _PATIENCE,
    ) -> None:
        self._sockets = sockets
        self._specifications = specifications
        self._patience = patience
        self._others: set[str] = set()  # that are no drivers of volumes

    def names(self) -> Sequence[str]:
        """The names of all that are there, but for those that have said that they are something else."""
        found = {path.stem for path in self._candidates(self._sockets, (".sock",)) if _is_socket(path)}
        for directory in self._specifications:
            found |= {path.stem for path in self._candidates(directory, (".spec", ".json"))}
        return sorted(name for name in found - self._others if _NAME.fullmatch(name))

    @staticmethod
    def _candidates(directory: Path, suffixes: Sequence[str]) -> list[Path]:
        found = []
        try:
            for entry in os.scandir(directory):
                path = Path(entry.path)
                if path.suffix in suffixes:
                    found.append(path)
                elif entry.is_dir():
                    inner = (path / f"{entry.name}{suffix}" for suffix in suffixes)
                    found += [one for one in inner if one.exists()]
        except OSError:
            pass  # it is not there
        return found

    async def find(self, name: str) -> PluginDriver | None:
        """The driver of a name; None where there is none, or it is something else.

        :raises Unavailable: it does not answer.
        :raises SystemFault: its file makes no sense.
        """
        if not _NAME.fullmatch(name):
            return None
        located = await asyncio.to_thread(self._locate, name)
        if located is None:
            return None
        address, tls = located
        driver = PluginDriver(name, address, tls, self._patience)
        try:
            is_driver = await driver.activate()
        except _NoSuchMethod:
            is_driver = False
        (self._others.discard if is_driver else self._others.add)(name)
        return driver if is_driver else None

    def _locate(self, name: str) -> tuple[str, ssl.SSLContext | None] | None:
        """The address of a plugin; reads the disk."""
        for path in (self._sockets / f"{name}.sock", self._sockets / name / f"{name}.sock"):
            if _is_socket(path):
                return f"unix://{path}", None
        for directory in self._specifications:
            for place in (directory, directory / name):
                for read in (_read_address, _read_specification):
                    if (found := read(place, name)) is not None:
                        return found
        return None


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _read_address(place: Path, name: str) -> tuple[str, None] | None:
    data = _read(place / f"{name}.spec")
    return None if data is None else (_checked(data.decode("utf-8", "replace").strip(), name), None)


def _read_specification(place: Path, name: str) -> tuple[str, ssl.SSLContext | None] | None:
    data = _read(path := place / f"{name}.json")
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=_Specification)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise SystemFault(f"the specification of plugin {name} makes no sense", cause=f"{path}: {exc}") from exc
    return _checked(found.addr, name), _context(found.tls_config, name)


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST_FILE)
    except OSError:
        return None


def _checked(address: str, name: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that are not closed, for one
        parts = urlsplit("")
    is_path = parts.scheme == "unix" and parts.path.startswith("/")
    if not is_path and not (parts.scheme in ("tcp", "http", "https") and parts.netloc):
        raise SystemFault(f"the specification of plugin {name} has no address", cause=f"'{_shown(address)}'")
    return address


def _context(tls: _Tls | None, name: str) -> ssl.SSLContext | None:
    if tls is None:
        return None
    import ssl  # noqa: PLC0415

    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except OSError as exc:
        raise SystemFault(f"the certificates of plugin {name} cannot be used", cause=str(exc)) from exc
    return context
