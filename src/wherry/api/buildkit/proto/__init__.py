"""BuildKit's messages: what we use of them, in ``.proto`` files of our own.

``make proto`` compiles them to one set of descriptors, ``descriptors.binpb``, and to stubs for mypy (``*_pb2.pyi``).
The classes are made from the descriptors at import, in a pool of their own: no generated code has to fit the version of
protobuf that is installed, and no other library's messages are in the way. On the wire only the numbers of fields
count; the names of packages and files are ours. Fields that are not here are kept.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet

if TYPE_CHECKING:
    from google.protobuf.message import Message

_POOL: Final = descriptor_pool.DescriptorPool()


def _fill() -> None:
    described = FileDescriptorSet.FromString((resources.files(__name__) / "descriptors.binpb").read_bytes())
    for file in described.file:  # in the order of their imports
        _POOL.AddSerializedFile(file.SerializeToString())


_fill()


def classes(file: str) -> dict[str, type[Message]]:
    """The classes of one file's messages, by their names."""
    described = _POOL.FindFileByName(file)
    return {name: message_factory.GetMessageClass(message) for name, message in described.message_types_by_name.items()}
