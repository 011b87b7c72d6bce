"""Storage in a bucket of an S3-compatible object store, through aiobotocore; any number of instances may share one.

S3 has no appending, so an upload is a multipart upload, and what is too little for a part is an object of its own::

    uploads/<name>/begun            there is such an upload
    uploads/<name>/multipart        S3's name for the multipart upload, once there is one
    uploads/<name>/tail-<parts>     the bytes behind so many parts; with another number it is out of date
    uploads/<name>/data             the whole, once it was put together

Whichever instance gets the next chunk finds all that it needs there. S3 has no locks either: two instances may append
to one upload at once, and the last one's bytes count. So what an upload is at is told by the ETags of all its objects,
and what is put together and copied has to have the very ones whose bytes were hashed.

The library is loaded when a storage is made: it is an extra, and takes a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from wherry.errors import Conflict, InvalidInput, NotFound, SystemFault, Unavailable, Unsupported
from wherry.registry.storage.contract import CHUNK, Entry, Progress, Stat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["S3Content", "S3Storage"]

_PART: Final = 8 << 20
_SMALLEST_PART: Final = 5 << 20  # S3: "5 MiB, there is no minimum size limit on the last part"
_PARTS_OF_ONE_SIZE: Final = 1000  # of the 10,000 that S3 allows; then they grow, so that 440 GB fit
_COPY_LIMIT: Final = 5 << 30  # CopyObject
_COPY_PART: Final = 1 << 30
_GONE: Final = ("NoSuchKey", "NoSuchUpload", "404", "NotFound")
_CHANGED: Final = ("PreconditionFailed", "412", "InvalidPart")


class S3Content:
    """A part of an object; see `wherry.registry.storage.contract.Content`."""

    def __init__(self, body: Any, size: int) -> None:
        self.file: BinaryIO | None = None
        self.start = 0
        self.size = size
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        """As they arrive."""
        with _translated("read an object"):
            while piece := await self._body.read(CHUNK):
                yield piece

    async def close(self) -> None:
        """Give the connection back, or close it when not all was read."""
        self._body.close()


class _Parts:
    """How far an upload is."""

    def __init__(self) -> None:
        self.multipart = ""
        self.etags: list[tuple[int, str]] = []
        self.size = 0  #: of all parts
        self.tail = 0  #: bytes behind them
        self.tail_etag = ""
        self.completed = -1  #: size of the whole, once put together
        self.completed_etag = ""

    @property
    def progress(self) -> Progress:
        """The same for callers."""
        if self.completed >= 0:
            return Progress(self.completed, f"whole {self.completed_etag}")
        etags = [*(etag for _, etag in self.etags), self.tail_etag if self.tail else ""]
        return Progress(self.size + self.tail, hashlib.sha256(" ".join(etags).encode()).hexdigest())


class S3Storage:
    """A bucket; see `wherry.registry.storage.contract.Storage`.

    :param prefix: what all keys begin with, so that a bucket can have other uses.
    :param endpoint: URL of a store that is not Amazon's.
    :raises Unsupported: aiobotocore is not installed.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str = "",
        region: str = "",
        access_key: str = "",
        secret_key: str = "",
    ) -> None:
        try:
            from aiobotocore.config import AioConfig  # noqa: PLC0415 - an extra
            from aiobotocore.session import get_session  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise Unsupported("S3 needs the library aiobotocore", hint="pip install 'wherry[s3]'") from error
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        style = {"addressing_style": "path"} if endpoint else {}
        self._making = get_session().create_client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region or "us-east-1",
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            config=AioConfig(s3=style, retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=64),
        )
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._appending: set[str] = set()

    # -- objects ------------------------------------------------------------------------------------------------------

    async def read(self, key: str) -> bytes:
        """See the contract."""
        with _translated("read an object", key):
            answer = await self._call("get_object", Key=self._prefix + key)
            data: bytes = await answer["Body"].read()
            return data

    async def stat(self, key: str) -> Stat:
        """See the contract."""
        with _translated("look at an object", key):
            answer = await self._call("head_object", Key=self._prefix + key)
        return Stat(answer["ContentLength"], answer["LastModified"].timestamp())

    async def open(self, key: str, start: int = 0, length: int | None = None) -> S3Content:
        """See the contract."""
        if length == 0:
            await self.stat(key)
            return S3Content(_Nothing(), 0)
        last = "" if length is None else start + length - 1
        wanted = {"Range": f"bytes={start}-{last}"} if start or length is not None else {}
        with _translated("open an object", key):
            answer = await self._call("get_object", Key=self._prefix + key, **wanted)
        return S3Content(answer["Body"], answer["ContentLength"])

    async def write(self, key: str, data: bytes) -> None:
        """See the contract."""
        await self._write(key, data)

    async def _write(self, key: str, data: bytes) -> str:
        with _translated("write an object", key):
            answer = await self._call("put_object", Key=self._prefix + key, Body=data)
        return str(answer["ETag"])

    async def touch(self, key: str) -> None:
        """Copy it onto itself, which S3 allows when it is said that something else about it changes."""
        with _translated("touch an object", key):
            source = {"Bucket": self._bucket, "Key": self._prefix + key}
            await self._call(
                "copy_object", Key=self._prefix + key, CopySource=source, MetadataDirective="REPLACE", Metadata={}
            )

    async def delete(self, key: str) -> None:
        """See the contract."""
        with _translated("remove an object", key):
            await self._call("delete_object", Key=self._prefix + key)

    async def entries(self, prefix: str, after: str = "") -> AsyncIterator[Entry]:
        """See the contract; S3 lists in the order of the keys' bytes."""
        async for found in self._listed(prefix, after):
            key = found["Key"].removeprefix(self._prefix)
            yield Entry(key, found["Size"], found["LastModified"].timestamp())

    async def _listed(self, prefix: str, after: str = "") -> AsyncIterator[dict[str, Any]]:
        arguments: dict[str, Any] = {"Prefix": self._prefix + prefix}
        if after:
            arguments["StartAfter"] = self._prefix + after
        while True:
            with _translated("list objects", prefix):
                page = await self._call("list_objects_v2", **arguments)
            for found in page.get("Contents", ()):
                yield found
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    async def adopt(self, key: str) -> bool:
        """This machine has nothing of a bucket's."""
        return False

    # -- uploads ------------------------------------------------------------------------------------------------------

    async def begin(self, upload: str) -> None:
        """See the contract."""
        await self.write(f"uploads/{upload}/begun", b"")

    async def uploaded(self, upload: str) -> Progress:
        """See the contract."""
        return (await self._parts(upload)).progress

    async def append(
        self, upload: str, at: Progress, pieces: AsyncIterator[bytes], tap: Callable[[bytes], object]
    ) -> Progress:
        """See the contract. What is too little for a part is kept as the tail, and is part of the next."""
        if upload in self._appending:
            raise Conflict("somebody else is appending to this upload")
        self._appending.add(upload)
        try:
            parts = await self._at(upload, at)
            if parts.completed >= 0:
                raise Conflict("the upload is being finished")
            return await self._append(upload, parts, pieces, tap)
        finally:
            self._appending.discard(upload)

    async def _append(
        self, upload: str, parts: _Parts, pieces: AsyncIterator[bytes], tap: Callable[[bytes], object]
    ) -> Progress:
        buffer = bytearray(await self._tail(upload, parts))
        try:
            async for piece in pieces:
                buffer += piece
                await asyncio.to_thread(tap, piece)
                if len(buffer) >= _part_size(len(parts.etags)):
                    await self._add_part(upload, parts, bytes(buffer))
                    buffer.clear()
        finally:
            parts.tail_etag = await self._write(f"uploads/{upload}/tail-{len(parts.etags)}", bytes(buffer))
            parts.tail = len(buffer)
        return parts.progress

    async def complete(self, upload: str, at: Progress) -> Progress:
        """See the contract. S3 shows nothing of a multipart upload before it is put together, so that is done now."""
        return (await self._complete(upload, await self._at(upload, at))).progress

    async def contents(self, upload: str, at: Progress) -> AsyncIterator[bytes]:
        """See the contract."""
        parts = await self._at(upload, at)
        with _translated("read an upload", upload):
            answer = await self._call("get_object", Key=self._data(upload), IfMatch=parts.completed_etag)
        content = S3Content(answer["Body"], answer["ContentLength"])
        try:
            async for piece in content.chunks():
                yield piece
        finally:
            await content.close()

    async def finish(self, upload: str, key: str, at: Progress) -> None:
        """See the contract."""
        if upload in self._appending:
            raise Conflict("somebody else is appending to this upload")
        parts = await self._at(upload, at)
        if parts.completed < 0 and not parts.etags:
            await self.write(key, await self._tail(upload, parts))
        else:
            completed = await self._complete(upload, parts)
            await self._copy(f"uploads/{upload}/data", key, completed.completed, completed.completed_etag)
        await self._remove(upload)

    async def abort(self, upload: str) -> None:
        """See the contract."""
        with contextlib.suppress(NotFound):
            multipart = (await self.read(f"uploads/{upload}/multipart")).decode()
            with _translated("abort an upload", upload):
                await self._call("abort_multipart_upload", Key=self._data(upload), UploadId=multipart)
        await self._remove(upload)

    async def uploads(self) -> AsyncIterator[tuple[str, float]]:
        """See the contract."""
        found: dict[str, float] = {}
        async for entry in self.entries("uploads/"):
            name = entry.key.split("/")[1]
            found[name] = max(found.get(name, 0.0), entry.modified)
        for name, modified in sorted(found.items()):
            yield name, modified

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client = None
            await self._making.__aexit__(None, None, None)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _call(self, operation: str, **arguments: Any) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._making.__aenter__()
        return await getattr(self._client, operation)(Bucket=self._bucket, **arguments)

    def _data(self, upload: str) -> str:
        return f"{self._prefix}uploads/{upload}/data"

    async def _at(self, upload: str, at: Progress) -> _Parts:
        """See that an upload is where it was.

        :raises NotFound: there is none.
        :raises Conflict: it is elsewhere.
        """
        parts = await self._parts(upload)
        if parts.progress != at:
            raise Conflict(f"the upload has {parts.progress.size} bytes, not {at.size}, or others")
        return parts

    async def _parts(self, upload: str) -> _Parts:
        """How far an upload is.

        :raises NotFound: there is none.
        """
        found = {one["Key"].rpartition("/")[2]: one async for one in self._listed(f"uploads/{upload}/")}
        if "begun" not in found:
            raise NotFound(f"no such upload: {upload}")
        parts = _Parts()
        if "data" in found:
            parts.completed, parts.completed_etag = found["data"]["Size"], found["data"]["ETag"]
        if "multipart" in found:
            parts.multipart = (await self.read(f"uploads/{upload}/multipart")).decode()
        if parts.multipart and parts.completed < 0:
            await self._list_parts(upload, parts)
        tail = found.get(f"tail-{len(parts.etags)}")
        if tail is not None:
            parts.tail, parts.tail_etag = tail["Size"], tail["ETag"]
        return parts

    async def _list_parts(self, upload: str, parts: _Parts) -> None:
        arguments: dict[str, Any] = {"Key": self._data(upload), "UploadId": parts.multipart}
        while True:
            with _translated("list the parts of an upload", upload):
                page = await self._call("list_parts", **arguments)
            for part in page.get("Parts", ()):
                parts.etags.append((part["PartNumber"], part["ETag"]))
                parts.size += part["Size"]
            if not page.get("IsTruncated"):
                return
            arguments["PartNumberMarker"] = page["NextPartNumberMarker"]

    async def _tail(self, upload: str, parts: _Parts) -> bytes:
        if not parts.tail:
            return b""
        key = f"{self._prefix}uploads/{upload}/tail-{len(parts.etags)}"
        with _translated("read an upload", upload):
            answer = await self._call("get_object", Key=key, IfMatch=parts.tail_etag)
            data: bytes = await answer["Body"].read()
        return data

    async def _add_part(self, upload: str, parts: _Parts, data: bytes) -> None:
        await self.stat(f"uploads/{upload}/begun")  # whoever cancelled it did not wait for us
        with _translated("write a part of an upload", upload):
            if not parts.multipart:
                answer = await self._call("create_multipart_upload", Key=self._data(upload))
                parts.multipart = answer["UploadId"]
                await self.write(f"uploads/{upload}/multipart", parts.multipart.encode())
            number = len(parts.etags) + 1
            answer = await self._call(
                "upload_part", Key=self._data(upload), UploadId=parts.multipart, PartNumber=number, Body=data
            )
        parts.etags.append((number, answer["ETag"]))
        parts.size += len(data)

    async def _complete(self, upload: str, parts: _Parts) -> _Parts:
        """Complete the multipart upload from exactly these parts, and note it in `parts`."""
        if parts.completed >= 0:
            return parts
        tail = await self._tail(upload, parts)
        if not parts.etags:
            parts.completed, parts.completed_etag = len(tail), await self._write(f"uploads/{upload}/data", tail)
            return parts
        if tail:
            await self._add_part(upload, parts, tail)
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts.etags]
        with _translated("put an upload together", upload):
            answer = await self._call(
                "complete_multipart_upload",
                Key=self._data(upload),
                UploadId=parts.multipart,
                MultipartUpload={"Parts": listed},
            )
        parts.completed, parts.completed_etag = parts.size, answer["ETag"]
        return parts

    async def _copy(self, source: str, target: str, size: int, etag: str) -> None:
        """Copy inside the bucket; the bytes do not come by here, so their ETag has to be the one that is known."""
        arguments = {
            "CopySource": {"Bucket": self._bucket, "Key": self._prefix + source},
            "CopySourceIfMatch": etag,
            "Key": self._prefix + target,
        }
        with _translated("store an upload", target):
            if size <= _COPY_LIMIT:
                await self._call("copy_object", **arguments)
                return
            started = await self._call("create_multipart_upload", Key=self._prefix + target)
            listed = []
            for number, start in enumerate(range(0, size, _COPY_PART), 1):
                run = f"bytes={start}-{min(size, start + _COPY_PART) - 1}"
                answer = await self._call(
                    "upload_part_copy",
                    **arguments,
                    UploadId=started["UploadId"],
                    PartNumber=number,
                    CopySourceRange=run,
                )
                listed.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            await self._call(
                "complete_multipart_upload",
                Key=self._prefix + target,
                UploadId=started["UploadId"],
                MultipartUpload={"Parts": listed},
            )

    async def _remove(self, upload: str) -> None:
        """Remove an upload's objects, the one that says that it is there first."""
        await self.delete(f"uploads/{upload}/begun")
        for entry in [entry async for entry in self.entries(f"uploads/{upload}/")]:
            await self.delete(entry.key)


class _Nothing:
    """The body of no bytes: S3 has no range for that."""

    async def read(self, amount: int) -> bytes:
        """Nothing."""
        return b""

    def close(self) -> None:
        """Nothing."""


def _part_size(number: int) -> int:
    """How large a part has to be that follows `number` others."""
    return max(_SMALLEST_PART, _PART * (1 + number // _PARTS_OF_ONE_SIZE))


@contextlib.contextmanager
def _translated(doing: str, key: str = "") -> Iterator[None]:
    """Translate botocore's errors into wherry's."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415 - as above

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _GONE:
            raise NotFound(f"no such object: {key}") from error
        if code in _CHANGED:
            raise Conflict("somebody else is appending to this upload") from error
        raise SystemFault(f"cannot {doing} in the bucket", cause=str(error)) from error
    except NoCredentialsError as error:
        raise InvalidInput("there are no credentials for the bucket", cause=str(error)) from error
    except (BotoCoreError, OSError, TimeoutError) as error:
        raise Unavailable(f"cannot {doing}: the bucket does not answer", cause=str(error)) from error
