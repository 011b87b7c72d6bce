"""A bundle: ``config.json``, read, with its paths made absolute."""

from __future__ import annotations

import os
import stat
from typing import Final

import msgspec
from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import Spec, decode, encode
from wherry.runtime.compile.mounts import in_bundle

__all__ = ["decode_spec", "encode_spec", "parse_json", "read_bundle", "read_json"]

#: Bytes; ten thousand mounts are two megabytes.
_LARGEST: Final = 32 << 20


def read_bundle(bundle: str, config: str = "") -> Spec:
    """Read a bundle's specification; relative paths in it are the bundle's.

    :param config: another file than its ``config.json``.
    :raises InvalidInput: there is none, or it is none.
    """
    path = config or f"{bundle}/config.json"
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise InvalidInput(f"JSON specification file {path!r} not found") from None
    spec = decode(data)
    major = spec.oci_version.partition(".")[0]
    if major != "1":
        raise InvalidInput(f"unsupported version {spec.oci_version!r} of the specification")
    if spec.root is None or not spec.root.path:
        raise InvalidInput("the specification has no root")
    rootfs = os.path.realpath(os.path.join(bundle, spec.root.path))
    if not os.path.isdir(rootfs):
        raise InvalidInput(f"invalid rootfs: {rootfs!r} is no directory")
    return in_bundle(replace(spec, root=replace(spec.root, path=rootfs)), bundle)


def read_json(path: str) -> bytes:
    """Read a file of the caller's; ``-`` is standard input.

    :raises InvalidInput: it is no file, or too large.
    """
    if path == "-":
        data = b""
        while len(data) <= _LARGEST and (piece := os.read(0, 1 << 20)):
            data += piece
        return _bounded(data, path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would have us wait
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidInput(f"{path!r} is no file")
        return _bounded(file.read(_LARGEST + 1), path)


def _bounded(data: bytes, path: str) -> bytes:
    if len(data) > _LARGEST:
        raise InvalidInput(f"{path!r} is larger than {_LARGEST} bytes")
    return data


def parse_json(data: bytes, what: str) -> object:
    """Read any JSON.

    :raises InvalidInput: it is none.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"invalid {what}", cause=str(error)) from error


decode_spec: Final = decode
encode_spec: Final = encode
