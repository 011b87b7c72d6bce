"""Digests, references and platforms."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.docker.reference import Reference
from wherry.errors import CorruptData, InvalidInput
from wherry.oci.digest import Digest, chain_id_of
from wherry.oci.platform import Platform

HEX = "a" * 64


def test_a_digest_is_the_hash_of_its_bytes() -> None:
    digest = Digest.from_bytes(b"wherry")
    assert digest == "sha256:" + hashlib.sha256(b"wherry").hexdigest()
    assert (digest.algorithm, len(digest.hex), digest.short) == ("sha256", 64, digest.hex[:12])
    digest.verify(b"wherry")
    with pytest.raises(CorruptData, match="has digest"):
        digest.verify(b"ferry")


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha256:" + "g" * 64, "md5:" + "a" * 32, "x"]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Digest(text)


def test_chain_ids_follow_the_specification() -> None:
    first, second = Digest.from_bytes(b"1"), Digest.from_bytes(b"2")
    assert chain_id_of([first]) == first
    assert chain_id_of([first, second]) == Digest.from_bytes(f"{first} {second}".encode())
    with pytest.raises(InvalidInput):
        chain_id_of([])


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.37", "docker.io/library/busybox:1.37", "busybox:1.37"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("FOO/bar", "FOO/bar:latest", "FOO/bar:latest"),
        (f"a@sha256:{HEX}", f"docker.io/library/a@sha256:{HEX}", f"a@sha256:{HEX}"),
        (f"r.io/a:t@sha256:{HEX}", f"r.io/a:t@sha256:{HEX}", f"r.io/a:t@sha256:{HEX}"),
        ("a__b-c---d.e", "docker.io/library/a__b-c---d.e:latest", "a__b-c---d.e:latest"),
    ],
)
def test_references_mean_what_docker_users_mean(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text).with_default_tag()
    assert (str(reference), reference.familiar) == (full, familiar)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a/../b", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        (f"a:{'t' * 129}", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("ä", "invalid reference format"),
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("docker.io/Foo:T", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("a" * 300, "repository name must not be more than 255 characters"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("a@sha256:abc", "invalid reference format"),
    ],
)
def test_bad_references_are_refused_in_the_words_of_docker(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Reference.parse(text)
    assert str(caught.value) == message


PARTS = st.lists(st.text("az09", min_size=1, max_size=8), min_size=1, max_size=3).map("/".join)
TAGS = st.just("") | st.builds(":{}{}".format, st.sampled_from("aZ0_"), st.text("aZ0_.-", max_size=9))


@given(st.builds("{}{}".format, PARTS, TAGS))
def test_a_reference_reads_its_own_short_and_long_form(text: str) -> None:
    reference = Reference.parse(text).with_default_tag()
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidInput:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("machine", "offered", "best"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/386", "linux/amd64"], 1),
        ("linux/amd64", ["linux/386"], 0),
        ("linux/amd64", ["windows/amd64", "linux/s390x"], None),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm64", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/riscv64", [], None),
        *((f"linux/{name}/v{'9' * 9}", [f"linux/{name}/v7", f"linux/{name}/v{'9' * 9}"], 1)
          for name in ("arm", "arm64", "amd64")),
    ],
)  # fmt: skip
def test_the_platform_that_suits_best_is_chosen(machine: str, offered: list[str], best: int | None) -> None:
    assert Platform.parse(machine).best_of([Platform.parse(text) for text in offered]) == best


def test_platforms_are_read_in_short_forms_and_by_other_names() -> None:
    assert str(Platform.parse("linux/x86_64")) == "linux/amd64"
    assert str(Platform.parse("aarch64")) == "linux/arm64"
    assert str(Platform.parse("arm64/v8".replace("arm64", "linux/arm64"))) == "linux/arm64"
    assert Platform.parse("linux") == Platform.host()
    for bad in ("", "a/b/c/d", "linux/", "lin ux", "foo", "amd46"):
        with pytest.raises(InvalidInput, match="invalid argument"):
            Platform.parse(bad)
