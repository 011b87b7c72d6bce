"""Files of web servers: ``http://`` and ``https://``, and what a client uploads under such an address.

What a server said of a file (its ETag, when it was changed, and the digest that it had) is remembered: where the server
says that nothing has changed, the key is known, and nothing is fetched as long as the cache has the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.sources.contract import Fetch, Memory, SourceKey, SourceRequest
from wherry.build.sources.drafts import Draft, Drafts
from wherry.build.sources.received import Received
from wherry.content.durable import disk_errors
from wherry.content.threads import in_thread
from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from wherry.build.sources.web import Web

__all__ = ["HttpSource"]

_UPLOAD_HOSTS: Final = frozenset({"buildkit-session"})
_HEADERS: Final = ("accept", "user-agent")  # which a client may set, as in BuildKit
_TEXT: Final = re.compile(r"[\x20-\x7e]{0,1024}")
_MAX_NAME: Final = 255
_MAX_ID: Final = 0xFFFFFFFE


class _Wanted(msgspec.Struct, frozen=True):
    """What is asked for, as the attributes have it."""

    url: str
    checksum: str = ""
    filename: str = ""
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    auth_secret: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def is_upload(self) -> bool:
        """Whether it is the client that has it."""
        return self.url.partition("://")[2].partition("/")[0] in _UPLOAD_HOSTS

    @property
    def memory(self) -> str:
        """The name under which what is known of it is remembered; without its secrets."""
        return f"http {Digest.from_bytes(msgspec.json.encode(self)).hex}"


class _Known(msgspec.Struct, frozen=True):
    """What is known of a file. Times in nanoseconds since the epoch."""

    digest: str
    name: str
    modified: int = 0
    etag: str = ""
    last_modified: str = ""


class HttpSource:
    """Opens files of web servers.

    :param drafts: makes layers.
    :param memory: keeps what servers said.
    """

    def __init__(self, drafts: Drafts, memory: Memory) -> None:
        self.drafts: Final = drafts
        self.memory: Final = memory
        self._web: Web | None = None

    def open(self, request: SourceRequest) -> Fetch:
        """Begin.

        :raises InvalidInput: the address or an attribute is wrong.
        """
        return _HttpFetch(self, request, _wanted(request.op.identifier, request.op.attributes))

    def web(self) -> Web:
        """The connections; aiohttp's client is imported at their first use."""
        if self._web is None:
            from wherry.build.sources.web import Web  # noqa: PLC0415

            self._web = Web()
        return self._web

    async def close(self) -> None:
        """Close all connections."""
        web, self._web = self._web, None
        if web is not None:
            await web.close()


class _HttpFetch:
    def __init__(self, source: HttpSource, request: SourceRequest, wanted: _Wanted) -> None:
        self._source = source
        self._request = request
        self._wanted = wanted
        self._known: _Known | None = None
        self._draft: Draft | None = None

    async def key(self) -> SourceKey:
        """The content and what the file will look like."""
        wanted = self._wanted
        if wanted.checksum and not wanted.is_upload:
            self._known = self._remembered()
            if self._known is None or self._known.digest != wanted.checksum:
                self._known = None
                await self._get({})
        else:
            await self._look()
        known = self._known
        assert known is not None
        about = [known.digest, known.name, known.modified, wanted.mode, wanted.uid, wanted.gid]
        return SourceKey(
            key=f"http {Digest.from_bytes(json.dumps(about).encode()).hex}",
            description=f"http url {self._shown}",
            pins=() if wanted.is_upload else ((self._shown, known.digest),),
        )

    async def snapshot(self) -> Snapshot:
        """A layer with the file."""
        known = self._known
        if self._draft is None:
            await self._get({})
            if known is not None and self._known is not None and _looks(self._known) != _looks(known):
                raise CorruptData(f"{self._shown} has changed since the server was asked about it")
        assert self._draft is not None
        snapshot = await self._draft.commit()
        self._draft = None
        return snapshot

    async def close(self) -> None:
        """Remove what was not asked for."""
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.discard()

    @property
    def _shown(self) -> str:
        from wherry.build.sources.web import shown  # noqa: PLC0415

        return shown(self._wanted.url)

    def _remembered(self) -> _Known | None:
        text = self._source.memory.recall(self._wanted.memory)
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(text, type=_Known) if text else None
        return None

    async def _look(self) -> None:
        """Ask the server whether the file is what it was; fetch it where it is not."""
        before = None if self._wanted.is_upload else self._remembered()
        headers = {}
        if before and before.etag:
            headers["If-None-Match"] = before.etag
        elif before and before.last_modified:
            headers["If-Modified-Since"] = before.last_modified
        await self._get(headers, before)

    async def _get(self, headers: dict[str, str], before: _Known | None = None) -> None:
        async with self._answer(headers) as (head, body):
            # Some servers know ETags, and answer with the file all the same.
            if before and (head.get("status") == 304 or (before.etag and head.get("etag") == before.etag)):
                self._known = before
                return
            if head.get("status") == 304:
                raise SystemFault(f"{self._shown}: the server says that it has not changed, and was not asked that")
            await self._receive(head, body)

    @asynccontextmanager
    async def _answer(self, headers: dict[str, str]) -> AsyncIterator[tuple[dict[str, Any], AsyncIterator[bytes]]]:
        """What the server, or the client, says of the file, and its bytes."""
        url = self._wanted.url
        if self._wanted.is_upload:
            yield {}, self._request.session.upload(url)
            return
        from wherry.build.sources.web import pieces  # noqa: PLC0415

        sent = {**dict(self._wanted.headers), **await self._authorization(), **headers}
        async with self._source.web().get(url, sent) as response:
            found = response.headers
            head = {
                "status": response.status,
                "etag": found.get("ETag", "").removeprefix("W/"),
                "last_modified": found.get("Last-Modified", ""),
                "disposition": found.get("Content-Disposition", ""),
                "total": response.content_length or 0,
            }
            yield head, pieces(response, url)

    async def _authorization(self) -> dict[str, str]:
        """With a secret's value, where the client has it: ``HTTP_AUTH_TOKEN_host``, as in BuildKit."""
        host = urlsplit(self._wanted.url).hostname or ""
        session, given = self._request.session, self._wanted.auth_secret
        asked = [(given, False)] if given else [(f"HTTP_AUTH_HEADER_{host}", False), (f"HTTP_AUTH_TOKEN_{host}", True)]
        for name, is_token in asked:
            with suppress(NotFound):
                value = (await session.secret(name)).decode(errors="replace").strip()
                if not _TEXT.fullmatch(value):
                    raise InvalidInput(f"the secret {name} is no value of a header")
                return {"Authorization": f"Bearer {value}" if is_token else value}
        return {}

    async def _receive(self, head: dict[str, Any], body: AsyncIterator[bytes]) -> None:
        wanted = self._wanted
        name = _file_name(wanted, head.get("disposition", ""))
        modified = _nanoseconds(head.get("last_modified", ""))
        self._draft = await self._source.drafts.draft(EMPTY)
        path = Path(self._draft.overlay.upper) / name
        received = Received(path, self._request, f"downloading {name}", wanted.checksum.partition(":")[0] or "sha256")
        digest = await received.take(body, head.get("total", 0))
        if wanted.checksum and digest != wanted.checksum:
            raise CorruptData(f"digest mismatch for {self._shown}: {digest} (expected: {wanted.checksum})")
        await in_thread(_dress, path, wanted, modified)
        etag, last_modified = head.get("etag", ""), head.get("last_modified", "")
        self._known = _Known(
            digest, name, modified, *(one if _TEXT.fullmatch(one) else "" for one in (etag, last_modified))
        )
        if not wanted.is_upload and (etag or last_modified or wanted.checksum):
            self._source.memory.remember(wanted.memory, msgspec.json.encode(self._known).decode())


def _looks(known: _Known) -> tuple[str, str, int]:
    """What the key says of a file."""
    return known.digest, known.name, known.modified


def _dress(path: Path, wanted: _Wanted, modified: int) -> None:
    with disk_errors("store a file of a web server"):
        os.chown(path, wanted.uid, wanted.gid)
        os.chmod(path, wanted.mode)
        os.utime(path, ns=(modified, modified))
        os.chmod(path.parent, 0o755)
        os.utime(path.parent, ns=(modified, modified))


def _wanted(url: str, attributes: Mapping[str, str]) -> _Wanted:
    checksum = attributes.get("http.checksum", "")
    if checksum:
        checksum = str(Digest(checksum))
    if "http.sig.pubkey" in attributes or "http.sig.signature" in attributes:
        raise InvalidInput("signatures of files of web servers are not supported by this version of wherry")
    filename = attributes.get("http.filename", "")
    if filename and not _is_name(filename):
        raise InvalidInput(f"invalid file name {filename[:_MAX_NAME]!r}")
    headers = {name: attributes.get(f"http.header.{name}", "") for name in _HEADERS}
    found = _Wanted(
        url=url,
        checksum=checksum,
        filename=filename,
        mode=_number(attributes, "http.perm", 0o7777) or 0o600,
        uid=_number(attributes, "http.uid", _MAX_ID),
        gid=_number(attributes, "http.gid", _MAX_ID),
        auth_secret=attributes.get("http.authheadersecret", ""),
        headers=tuple((name, value) for name, value in headers.items() if value and _TEXT.fullmatch(value)),
    )
    if not found.is_upload:
        from wherry.build.sources.web import parse_url  # noqa: PLC0415

        parse_url(url)
    return found


def _number(attributes: Mapping[str, str], name: str, most: int) -> int:
    """A number as Go reads it: ``0644`` is octal."""
    text = attributes.get(name, "")
    if not text:
        return 0
    try:
        number = int(text, 8 if re.fullmatch(r"0[0-7]+", text) else 0) if len(text) < 20 else -1
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise InvalidInput(f"{name} is no number from 0 to {most}: {text[:40]!r}")
    return number


def _file_name(wanted: _Wanted, disposition: str) -> str:
    """The name that a file gets: the one that was asked for, or the server's, or the address' last part."""
    if wanted.filename:
        return wanted.filename
    if disposition and len(disposition) <= 4096:
        message = Message()
        message["Content-Disposition"] = disposition.replace("\r", " ").replace("\n", " ")
        offered = message.get_filename()
        if offered and _is_name(name := offered.replace("\\", "/").rpartition("/")[2]):
            return name
    name = unquote(urlsplit(wanted.url).path).rstrip("/").rpartition("/")[2]
    return name if _is_name(name) else "download"


def _is_name(name: str) -> bool:
    """Whether a file may have a name; no whiteout's, which is only one in archives, but should not be met here."""
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    return 0 < length <= _MAX_NAME and name not in (".", "..") and "/" not in name and "\0" not in name


def _nanoseconds(text: str) -> int:
    """A date of HTTP (RFC 9110, 5.6.7); the epoch where there is none, so that two fetches are alike."""
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp())) * 1_000_000_000 if text else 0
    except (TypeError, ValueError, OverflowError):
        return 0
