"""A client's session: what it offers to its builds, asked for over its connection (BuildKit ``session/*``)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from google.protobuf.message import Message

from wherry.api.buildkit.client_calls import CHUNK, evenly, headers_of, translated
from wherry.api.buildkit.client_store import CONTENT, ClientStore
from wherry.api.buildkit.diffcopy import receive, send
from wherry.api.buildkit.grpc import ClientCall, unary
from wherry.api.buildkit.http2 import Http2
from wherry.api.buildkit.proto.common_pb2 import BytesMessage
from wherry.api.buildkit.proto.fsutil_pb2 import Packet
from wherry.api.buildkit.proto.session_pb2 import (
    CheckAgentRequest,
    CheckAgentResponse,
    CredentialsRequest,
    CredentialsResponse,
    GetSecretRequest,
    GetSecretResponse,
)
from wherry.api.buildkit.receive_tree import TreeReceiver
from wherry.api.buildkit.send_tree import TreeSender
from wherry.build.files.selection import TOP
from wherry.build.files.selection import Selection as Patterns
from wherry.build.model.session import Credentials, Selection
from wherry.content.threads import in_thread
from wherry.errors import Conflict, InvalidInput, NotFound, Unavailable, WherryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from wherry.api.buildkit.http2 import Header

__all__ = ["ClientSession"]

MOST_VALUES: Final = 450  #: of headers: servers made with Go 1.27 and newer refuse more than 500 with status 431
SECRET_LIMIT: Final = 500 << 10  #: bytes of a secret, as BuildKit has it

_SYNC: Final = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND: Final = "/moby.filesync.v1.FileSend/DiffCopy"
_CREDENTIALS: Final = "/moby.filesync.v1.Auth/Credentials"
_SECRET: Final = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_CHECK_AGENT: Final = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD: Final = "/moby.sshforward.v1.SSH/ForwardAgent"
_PULL: Final = "/moby.upload.v1.Upload/Pull"

R = TypeVar("R", bound=Message)


class ClientSession:
    """One session, over its connection; `wherry.build.model.session.BuildSession`.

    :param methods: what the client says that it offers, as paths; empty: it says nothing, and is asked for anything.
    :param find: finds another session by its ID, waiting for it.
    :param excluding: makes of .dockerignore's patterns what tells whether a path is wanted.
    """

    def __init__(
        self,
        http: Http2,
        identifier: str,
        *,
        shared_key: str = "",
        methods: Iterable[str] = (),
        find: Callable[[str], Awaitable[ClientSession]] | None = None,
    ) -> None:
        self._http = http
        self._id = identifier
        self._shared_key = shared_key
        self._methods = frozenset(method.lower() for method in methods)
        self._find = find

    @property
    def id(self) -> str:
        """Its ID."""
        return self._id

    @property
    def shared_key(self) -> str:
        """Of all sessions from one place."""
        return self._shared_key

    # --- directories

    async def directory(self, name: str, selection: Selection, progress: Callable[[int], None]) -> None:
        """None: a client's directories are the client's."""

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        """Make a directory like one of the client's."""
        if session and session != self._id and self._find is not None:
            other = await self._find(session)
            await other.sync(name, destination, selection, progress)
            return
        self._need(_SYNC, "no local sources enabled")
        headers, wants = _selected(name, selection)
        async with self._call(_SYNC, Packet, headers) as call:
            receiver = await in_thread(TreeReceiver, destination, wants, undo=TreeReceiver.close)
            try:
                await receive(call, receiver, progress)
            finally:
                await in_thread(receiver.close)

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Send a directory's content to the client."""
        self._need(_SEND, "the client takes no files")
        async with self._call(_SEND, Packet, headers_of({"buildkit-attachable-exporter-id": [exporter]})) as call:
            sender = await in_thread(TreeSender, root, prefix, modified, undo=TreeSender.close)
            try:
                await send(call, sender)
            finally:
                await in_thread(sender.close)

    async def send_file(self, exporter: str, attributes: Mapping[str, str], pieces: AsyncIterator[bytes]) -> None:
        """Send an archive to the client."""
        self._need(_SEND, "the client takes no files")
        metadata = {f"exporter-md-{key}": [value] for key, value in attributes.items()}
        metadata["buildkit-attachable-exporter-id"] = [exporter]
        try:
            async with self._call(_SEND, BytesMessage, headers_of(metadata)) as call:
                async for piece in evenly(pieces):
                    await call.send(BytesMessage(data=piece))
                await call.write(b"", end=True)
                await call.finish()
        except Conflict:
            return  # the client has it already

    # --- small things

    async def secret(self, identifier: str) -> bytes:
        """A secret."""
        missing = f"secret {identifier}: not found"
        self._need(_SECRET, missing)
        try:
            answer = await self._unary(_SECRET, GetSecretRequest(ID=identifier), GetSecretResponse)
        except NotFound as error:
            raise NotFound(missing) from error
        if len(answer.data) > SECRET_LIMIT:
            raise InvalidInput(f"invalid secret size {len(answer.data)}")
        return answer.data

    async def credentials(self, host: str) -> Credentials | None:
        """The client's credentials for a registry."""
        if not self._offers(_CREDENTIALS):
            return None
        try:
            answer = await self._unary(_CREDENTIALS, CredentialsRequest(Host=host), CredentialsResponse)
        except NotFound:
            return None
        if not answer.Secret:
            return None
        if not answer.Username:  # an identity token (BuildKit session/auth/authprovider)
            return Credentials(token=answer.Secret)
        return Credentials(answer.Username, answer.Secret)

    async def ssh(self, identifier: str) -> AgentConnection:
        """A new connection to an SSH agent."""
        identifier = identifier or "default"
        missing = f"unset ssh forward key {identifier}"
        self._need(_FORWARD, missing)
        try:
            await self._unary(_CHECK_AGENT, CheckAgentRequest(ID=identifier), CheckAgentResponse)
        except WherryError as error:
            if isinstance(error, Unavailable):
                raise
            raise NotFound(missing) from error
        call = ClientCall(self._http, _FORWARD, BytesMessage, headers_of({"buildkit.ssh.id": [identifier]}))
        with translated():
            await call.__aenter__()
        return AgentConnection(call)

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        """What the client sends under a URL of its own."""
        self._need(_PULL, f"no such upload: {url}")
        parts = urlsplit(url)
        headers = headers_of({"urlpath": [parts.path], "urlhost": [parts.netloc]})
        async with self._call(_PULL, BytesMessage, headers) as call:
            await call.write(b"", end=True)
            while (message := await call.receive()) is not None:
                if message.data:
                    yield message.data

    # --- content

    def content(self, store: str) -> ClientStore:
        """A store of blobs of the client's."""
        self._need(f"{CONTENT}Info", f"no content store of the client's: {store}")
        return ClientStore(self._http, store)

    # --- calls

    def _offers(self, path: str) -> bool:
        return not self._methods or path.lower() in self._methods

    def _need(self, path: str, otherwise: str) -> None:
        if not self._offers(path):
            raise NotFound(otherwise)

    async def _unary(self, path: str, request: Message, answer: type[R], headers: Iterable[Header] = ()) -> R:
        with translated():
            return await unary(self._http, path, request, answer, headers)

    @asynccontextmanager
    async def _call(self, path: str, answer: type[R], headers: Iterable[Header]) -> AsyncIterator[ClientCall[R]]:
        call = ClientCall(self._http, path, answer, headers)
        with translated():
            async with call:
                yield call


class AgentConnection:
    """A connection to an agent at the client's; `wherry.build.model.session.Connection`."""

    def __init__(self, call: ClientCall[BytesMessage]) -> None:
        self._call = call

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        with translated():
            while (message := await self._call.receive()) is not None:
                if message.data:
                    return message.data
        return b""

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        with translated():
            await self._call.send(*[BytesMessage(data=data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)])

    def close(self) -> None:
        """End it."""
        self._call.stream.reset()


def _selected(name: str, selection: Selection) -> tuple[list[Header], Callable[[bytes, bool], bool] | None]:
    """What the client is told about which files are wanted, and what has to be left out here.

    What would be too many headers is left out: then more comes, and less is taken.
    """
    metadata = {"dir-name": [name]}
    count = len(selection.include) + len(selection.follow)
    if count <= MOST_VALUES:
        metadata |= {"include-patterns": list(selection.include), "followpaths": list(selection.follow)}
    if count + len(selection.exclude) <= MOST_VALUES:
        return headers_of(metadata | {"exclude-patterns": list(selection.exclude)}), None
    return headers_of(metadata), _Excluding(selection.exclude).wants


class _Excluding:
    """Leaves out what .dockerignore's patterns say; is asked for directories before what is in them."""

    def __init__(self, exclude: Sequence[str]) -> None:
        self._patterns = Patterns(exclude=exclude)
        self._states = {b"": TOP}

    def wants(self, path: bytes, is_directory: bool) -> bool:
        """Whether something is taken, or of a directory something in it may be."""
        verdict = self._patterns.judge(path, self._states[path.rpartition(b"/")[0]])
        if is_directory and verdict.entered:
            self._states[path] = verdict.below
        return verdict.taken or (is_directory and verdict.entered)
