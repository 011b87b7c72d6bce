"""Manifests, indexes and image configurations as they come from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.errors import InvalidInput
from wherry.oci.image_config import parse_config
from wherry.oci.manifest import Index, Manifest, parse_manifest_or_index

BLOB = {"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 1}


def parse(**fields: Any) -> Manifest | Index:
    return parse_manifest_or_index(json.dumps({"schemaVersion": 2, **fields}).encode())


def test_a_manifest_and_an_index_are_told_apart_by_what_they_hold() -> None:
    assert isinstance(parse(config=BLOB, layers=[BLOB], unknown=1), Manifest)
    assert isinstance(parse(manifests=[BLOB]), Index)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config": BLOB, "layers": [], "manifests": []}, "a manifest and an index at once"),
        ({"config": BLOB, "layers": [], "mediaType": "application/json"}, "unsupported manifest media type"),
        ({"schemaVersion": 1, "config": BLOB, "layers": []}, "unsupported manifest schema version 1"),
        ({"config": {**BLOB, "digest": "sha256:x"}, "layers": []}, "invalid image manifest"),
        ({"config": BLOB, "layers": 7}, "invalid image manifest"),
        ({}, "invalid image manifest"),
    ],
)
def test_ambiguous_or_malformed_manifests_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(**fields)


def test_json_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_manifest_or_index(b'{"schemaVersion":2,"config":' + b"[" * 200_000)


def test_a_configuration_may_have_nulls_and_unknown_fields() -> None:
    config = parse_config(b'{"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Cmd":null},"x":[1]}')
    assert config.config is not None
    assert config.config.cmd is None
    with pytest.raises(InvalidInput, match="unsupported root file system type"):
        parse_config(b'{"rootfs":{"type":"windows","diff_ids":[]}}')
