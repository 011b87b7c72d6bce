"""Drafts become vertices, each once."""

from __future__ import annotations

from wherry.build.front.drafts import Draft, Workshop
from wherry.build.model.graph import FileAction, FileOp, MakeDirectory, Metadata, SourceOp, Vertex


def directory(path: str, *inputs: Draft, name: str = "") -> Draft:
    """A draft that makes a directory."""
    op = FileOp((FileAction(MakeDirectory(path, 0o755), input=0 if inputs else -1, output=0),))
    return Draft(op, inputs, metadata=Metadata(name=name))


def test_nothing_stays_nothing_and_an_edge_an_edge() -> None:
    edge = Vertex.of(SourceOp("local://x")).output()
    assert Workshop().edge(None) is None
    assert Workshop().edge(edge) is edge


def test_drafts_that_ask_for_the_same_are_one_vertex() -> None:
    root = directory("/c", directory("/a", name="first"), directory("/a", name="second"))
    edge = Workshop().edge(root)
    assert edge is not None
    first, second = edge.vertex.inputs
    assert first.vertex is second.vertex
    assert first.vertex.metadata.name == "first"


def test_what_nothing_needs_is_not_made() -> None:
    def fail() -> SourceOp:
        raise AssertionError

    Draft(fail)
    assert Workshop().edge(directory("/a")) is not None


def test_an_operation_may_be_known_at_the_end_only() -> None:
    paths: list[str] = []
    source = Draft(lambda: SourceOp("local://context", {"paths": ",".join(paths)}))
    paths.append("a")
    edge = Workshop().edge(source)
    assert edge is not None
    assert edge.vertex.op == SourceOp("local://context", {"paths": "a"})


def test_a_long_chain_needs_no_recursion() -> None:
    draft = directory("/0")
    for number in range(20_000):
        draft = directory(f"/{number % 7}", draft)
    assert Workshop().edge(draft) is not None
