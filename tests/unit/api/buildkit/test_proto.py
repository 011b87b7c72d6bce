"""BuildKit's messages: what is compiled fits what is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from wherry.api.buildkit import proto
from wherry.api.buildkit.proto import llb_pb2

HERE = Path(proto.__file__).parent


def test_the_descriptors_are_those_of_the_files() -> None:
    pytest.importorskip("grpc_tools")
    from wherry.api.buildkit.proto.compile import compiled  # noqa: PLC0415

    made = compiled()
    theirs = FileDescriptorSet.FromString(made["descriptors.binpb"])
    ours = FileDescriptorSet.FromString((HERE / "descriptors.binpb").read_bytes())
    assert {file.name: file for file in ours.file} == {file.name: file for file in theirs.file}, "run `make proto`"
    for name, content in made.items():
        if name.endswith(".py"):
            assert (HERE / name).read_text().splitlines() == content.decode().splitlines(), "run `make proto`"


def test_fields_that_are_not_known_are_kept() -> None:
    data = llb_pb2.Op(exec=llb_pb2.ExecOp(meta=llb_pb2.Meta(args=["a"]))).SerializeToString() + b"\xa2\x7d\x01x"
    assert llb_pb2.Op.FromString(data).SerializeToString() == data
