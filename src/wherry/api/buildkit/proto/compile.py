"""Compile the ``.proto`` files: ``make proto``. Needs grpcio-tools, which nothing else does."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent


def compiled() -> dict[str, bytes]:
    """What the files become, by name."""
    from grpc_tools import protoc  # noqa: PLC0415 - a tool for developers

    with tempfile.TemporaryDirectory() as scratch:
        arguments = [
            "protoc",
            f"-I{_HERE}",
            f"--pyi_out={scratch}",
            f"--descriptor_set_out={scratch}/descriptors.binpb",
        ]
        if protoc.main([*arguments, "--include_imports", *sorted(path.name for path in _HERE.glob("*.proto"))]):
            raise SystemExit(1)
        made = {path.name: _as_ours(path) for path in Path(scratch).iterdir()}
    return made | _modules(made["descriptors.binpb"])


def _modules(descriptors: bytes) -> dict[str, bytes]:
    """A module for each file, with its classes by name."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - as above

    modules = {}
    for file in FileDescriptorSet.FromString(descriptors).file:
        lines = [f'"""The messages of ``{file.name}``; made by ``make proto``."""', ""]
        lines += ["from wherry.api.buildkit.proto import classes", "", f'_CLASSES = classes("{file.name}")']
        lines += [f'{message.name} = _CLASSES["{message.name}"]' for message in file.message_type]
        modules[file.name.replace(".proto", "_pb2.py")] = "\n".join([*lines, ""]).encode()
    return modules


def _as_ours(path: Path) -> bytes:
    """The stubs import each other as top-level modules; ours are in a package."""
    if path.suffix != ".pyi":
        return path.read_bytes()
    text = re.sub(r"^import (\w+_pb2) as", r"from wherry.api.buildkit.proto import \1 as", path.read_text(), flags=re.M)
    return text.encode()


if __name__ == "__main__":
    for name, content in compiled().items():
        (_HERE / name).write_bytes(content)
    sys.exit(0)
