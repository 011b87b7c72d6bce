"""Answers are JSON in UTF-8, whatever a container called its files."""

from __future__ import annotations

import msgspec
import pytest

from wherry.api.http.answers import encode, negotiate, reply_from_thread
from wherry.oci.digest import Digest


class Change(msgspec.Struct):
    path: str
    by: object = None


def test_bytes_that_are_no_utf8_become_what_go_writes_for_them() -> None:
    value = [{"Path": "/tmp/\udcffé\udc80", "\udcfe": 1}, Change("a\udcff", Digest("sha256:" + "0" * 64)), ("\ud800",)]
    assert encode([1, "é"]) == '[1,"é"]\n'.encode()
    decoded = msgspec.json.decode(encode(value[:2]))
    assert decoded[0] == {"Path": "/tmp/\ufffdé\ufffd", "\ufffd": 1}
    assert decoded[1] == {"path": "a\ufffd", "by": "sha256:" + "0" * 64}
    assert "\ufffd" in encode(value[2]).decode()


async def test_a_long_answer_is_written_beside_the_event_loop() -> None:
    answer = await reply_from_thread([{"Path": "/\udcff", "Kind": 1}])
    assert answer.body == '[{"Path":"/\ufffd","Kind":1}]\n'.encode()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", ""),
        ("*/*, application/*", ""),
        ("b/b", "b/b"),
        ("B/B ; q=0.1, text/html", "b/b"),
        ("b/b, a/a", "a/a"),
        ("a/a;q=0.3, b/b;q=0.31", "b/b"),
        ("a/a;q=0, b/b;q=0.000", ""),
        ("a/a;q=7, b/b;q=-1, a/a;q=nan, b/b;q=1e9", ""),
        ("a/a;q=" + "0" * 100_000 + ",b/b", "b/b"),
        ("," * 100_000 + ";" * 100_000, ""),
    ],
)
def test_a_form_is_taken_that_a_client_names(accept: str, chosen: str) -> None:
    assert negotiate(accept, ("a/a", "b/b")) == chosen
