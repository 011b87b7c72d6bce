"""Which documents of registries are volumes, and which are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.errors import InvalidInput
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.volumes import archive
from wherry.volumes.artifact import ARTIFACT_TYPE, CONTENT_TYPE, describe, packed_of

DIGEST = Digest.from_bytes(b"packed")
GOOD: dict[str, Any] = json.loads(encode(describe("data", "", "2026-01-02T03:04:05Z", (DIGEST, 6, 100))))
LAYER: dict[str, Any] = GOOD["layers"][0]
CONFIG = {**GOOD["config"], "mediaType": media_types.OCI_CONFIG}


def test_a_volume_is_read_as_it_was_written() -> None:
    found = packed_of(json.dumps(GOOD).encode(), "app")
    assert (found.blob.digest, found.blob.size, found.limits.max_bytes) == (DIGEST, 6, 100)


@pytest.mark.parametrize("suffix", ["", "+gzip", "+zstd"])
def test_other_programs_make_volumes_as_well(suffix: str) -> None:
    layer = {"mediaType": CONTENT_TYPE.replace("+gzip", suffix), "digest": DIGEST, "size": 6}
    older = {**GOOD, "artifactType": "", "config": {**GOOD["config"], "mediaType": ARTIFACT_TYPE}}
    for document in (GOOD, older):
        found = packed_of(json.dumps({**document, "layers": [layer]}).encode(), "app")
        assert (found.size, found.limits) == (None, archive.IMPORT_LIMITS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config": CONFIG}, "app is an image, not a volume"),
        ({"artifactType": "text/x" * 99}, "app is an artifact of the type 'text/xtext"),
        ({"artifactType": None}, "of the type 'application/vnd.oci.empty.v1+json', not a volume"),
        ({"layers": []}, "it has 0 layers"),
        ({"layers": [LAYER, LAYER]}, "it has 2 layers"),
        ({"layers": [{**LAYER, "mediaType": media_types.OCI_LAYER}]}, f"it has '{media_types.OCI_LAYER}'"),
        ({"layers": [{**LAYER, "size": -1}]}, "invalid image manifest"),
        ({"layers": [{**LAYER, "digest": "md5:x"}]}, "invalid image manifest"),
        ({"layers": [{**LAYER, "annotations": {"org.wherry.volume.size": "-1"}}]}, "'-1' is no size"),
        ({"layers": [{**LAYER, "annotations": {"org.wherry.volume.size": "9" * 99}}]}, "is no size"),
        ({"layers": None, "config": None, "mediaType": media_types.OCI_INDEX, "manifests": []}, "app is an index"),
        ({"layers": None, "config": None}, "invalid image manifest"),
    ],
)
def test_what_is_no_volume_is_called_what_it_is(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        packed_of(json.dumps({**GOOD, **changes}).encode(), "app")
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300
