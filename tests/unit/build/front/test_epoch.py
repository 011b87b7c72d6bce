"""SOURCE_DATE_EPOCH that is the name of what has a date."""

from __future__ import annotations

import gzip

import pytest

from support.archives import directory, link, member, tar
from support.fake_gateway import FakeGateway, config, solved, steps
from wherry.build.model.graph import ExecOp
from wherry.errors import InvalidInput

MOMENT = 1_700_000_000
GIT, URL = "https://example.com/r.git#main", "https://example.com/context"
TEXT = "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN x\nWORKDIR /w"
EPOCH = "build-arg:SOURCE_DATE_EPOCH"


def gateway(where: str = "", text: str = TEXT) -> FakeGateway:
    """Knows the Dockerfile and the date of a source."""
    found = FakeGateway(text, files={(where, "Dockerfile"): text.encode(), (where, "context"): b"\x1f\x8b\x08"})
    found.times[where] = MOMENT * 1_000_000_000 + 5
    return found


async def environment(options: dict[str, str], gateway: FakeGateway) -> tuple[list[str], str | None]:
    """The dates that a step sees, and that of the image."""
    result = await solved("", options, gateway=gateway)
    (op,) = [vertex.op for vertex in steps(result).values() if isinstance(vertex.op, ExecOp)]
    seen = [line for line in op.env if line.startswith("SOURCE_DATE_EPOCH")]
    epoch = result.metadata.get("source.date.epoch")
    assert config(result)["history"][-1].get("created") == ("2023-11-14T22:13:20Z" if epoch else None)
    return seen, epoch.decode() if epoch is not None else None


@pytest.mark.parametrize(
    ("context", "where"), [(GIT, "git://example.com/r.git#main"), (URL, URL)], ids=["commit", "Last-Modified"]
)
async def test_the_context_has_a_date(context: str, where: str) -> None:
    assert await environment({EPOCH: "context", "context": context}, gateway(where)) == (
        [f"SOURCE_DATE_EPOCH={MOMENT}"],
        str(MOMENT),
    )


def archive(packed: bool) -> bytes:
    """One whose newest file is of `MOMENT`; its directories and links are newer."""
    newer = {"mtime": MOMENT + 100}
    members = [directory("d", **newer), member("d/a", b"a", mtime=MOMENT), member("b", b"b", mtime=5), link("l", "b")]
    return gzip.compress(tar(members)) if packed else tar(members)


@pytest.mark.parametrize("packed", [True, False])
async def test_an_archive_without_a_date_has_that_of_its_newest_file(packed: bool) -> None:
    silent = gateway(URL)
    silent.times.clear()
    silent.files[URL, "context"] = archive(packed)
    assert await environment({EPOCH: "context", "context": URL}, silent) == (
        [f"SOURCE_DATE_EPOCH={MOMENT}"],
        str(MOMENT),
    )


async def test_of_what_is_no_archive_or_a_large_one_no_date_is_known() -> None:
    silent = gateway(URL)
    silent.times.clear()
    for content in (b"\x1f\x8b\x08 damaged", archive(packed=False) + bytes(16 << 20)):
        silent.files[URL, "context"] = content
        assert await environment({EPOCH: "context", "context": URL}, silent) == ([], None)


async def test_a_context_without_a_date_is_as_if_nothing_were_said() -> None:
    """A directory of the client's, a server that says no date: steps do not see the name."""
    assert await environment({EPOCH: "context"}, gateway()) == ([], None)
    silent = gateway(URL)
    silent.times.clear()
    assert await environment({EPOCH: "context", "context": URL}, silent) == ([], None)
    assert await environment({EPOCH: ""}, gateway()) == ([], None)


@pytest.mark.parametrize(
    ("value", "where"), [(GIT, "git://example.com/r.git#main"), (URL, URL)], ids=["commit", "Last-Modified"]
)
async def test_a_named_context_has_a_date(value: str, where: str) -> None:
    options = {EPOCH: "src", "context:src": value}
    assert await environment(options, gateway(where)) == ([f"SOURCE_DATE_EPOCH={MOMENT}"], str(MOMENT))
    assert await environment({EPOCH: "src", "context:src": "docker-image://busybox"}, gateway()) == ([], None)


async def test_the_default_of_an_argument_is_a_name_as_well() -> None:
    found = gateway(URL, f"ARG SOURCE_DATE_EPOCH=context\n{TEXT}")
    assert await environment({"context": URL}, found) == ([f"SOURCE_DATE_EPOCH={MOMENT}"], str(MOMENT))


async def test_a_name_of_nothing_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="invalid SOURCE_DATE_EPOCH: nothing"):
        await solved("", {EPOCH: "nothing"}, gateway=gateway())
