"""A context as an archive, as ``docker context export`` writes it: ``meta.json``, ``tls/docker/*.pem``."""

from __future__ import annotations

import io
import json
import tarfile
import zlib

from wherry.cli.daemon.contexts import TLS_NAMES
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["pack", "unpack"]

MOST_BYTES = 10 << 20  #: of an archive, and of a file in it, as docker's command has it
_TLS = {f"tls/docker/{name}": name for name in TLS_NAMES.values()}


def pack(metadata: Mapping[str, Any], tls: Mapping[str, bytes]) -> bytes:
    """Make an archive."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as tar:
        _add(tar, "meta.json", json.dumps(metadata, separators=(",", ":")).encode(), 0o644)
        _add(tar, "tls", None, 0o700)
        if tls:
            _add(tar, "tls/docker", None, 0o700)
        for name, data in sorted(tls.items()):
            _add(tar, f"tls/docker/{name}", data, 0o600)
    return result.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes | None, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    if data is None:
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        return
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read an archive: tar or zip. Nothing is extracted: of its files those are read whose names are known.

    :returns: the metadata, and the certificates by the names of their files.
    :raises InvalidInput: it is none, or too large.
    """
    if len(data) > MOST_BYTES:
        raise InvalidInput(f"the archive has more than {MOST_BYTES} bytes")
    try:
        found = dict(_zip_files(data) if data.startswith(b"PK") else _tar_files(data))
    except (tarfile.TarError, ValueError, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise InvalidInput("the archive of a context cannot be read", cause=str(error)) from error
    if "meta.json" not in found:
        raise InvalidInput("invalid context: no metadata found")
    try:
        metadata = json.loads(found["meta.json"])
        host = metadata["Endpoints"]["docker"].get("Host", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput("invalid context: its metadata has no docker endpoint", cause=str(error)) from error
    if not isinstance(host, str):
        raise InvalidInput("invalid context: its address is no text")
    return metadata, {_TLS[path]: content for path, content in found.items() if path in _TLS}


def _tar_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of a tar. Docker's command leaves out what fills its last block, and the two that end an archive."""
    with tarfile.open(fileobj=io.BytesIO(data + bytes(-len(data) % tarfile.BLOCKSIZE)), mode="r:") as tar:
        for entry in tar:
            if entry.offset_data + entry.size > len(data):
                raise ValueError("unexpected end of data")
            name = entry.name.removeprefix("./")
            if entry.isreg() and (name == "meta.json" or name in _TLS):
                file = tar.extractfile(entry)
                assert file is not None
                yield name, file.read(MOST_BYTES)


def _zip_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.filename == "meta.json" or entry.filename in _TLS:
                    if entry.file_size > MOST_BYTES:
                        raise ValueError(f"{entry.filename} is too large")
                    with archive.open(entry) as file:
                        yield entry.filename, file.read(MOST_BYTES)
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
