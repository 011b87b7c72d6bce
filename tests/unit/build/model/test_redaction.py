"""What is kept and shown of a build has no credentials."""

from __future__ import annotations

import pytest

from wherry.build.model.redaction import redacted, redacted_options


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a:b@example.com/c@d https://e@f/", "https://xxxxx@example.com/c@d https://xxxxx@f/"),
        (
            "load git source https://a:b@c@example.com/x.git#main",
            "load git source https://xxxxx@example.com/x.git#main",
        ),
        ("http://a:b@[::1]:80", "http://xxxxx@[::1]:80"),
        ("https://example.com/a@b?c=d@e", "https://example.com/a@b?c=d@e"),
        (
            "[1/2] FROM docker.io/library/busybox:latest@sha256:0",
            "[1/2] FROM docker.io/library/busybox:latest@sha256:0",
        ),
        ("docker-image://busybox@sha256:0", "docker-image://busybox@sha256:0"),
        ("oci-layout://name@sha256:0 https://a@b", "oci-layout://name@sha256:0 https://xxxxx@b"),
        ("git@example.com:x", "git@example.com:x"),
    ],
)
def test_urls_are_shown_without_names_and_passwords(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_options_are_kept_without_them_and_proxies_also_where_they_have_no_scheme() -> None:
    given = {
        "context": "https://token@example.com/x.git",
        "build-arg:https_proxy": "user:pass@proxy:3128",
        "build-arg:HTTP_PROXY": "http://user:pass@proxy:3128",
        "build-arg:MAIL": "me@example.com",
    }
    assert redacted_options(given) == {
        "context": "https://xxxxx@example.com/x.git",
        "build-arg:https_proxy": "xxxxx@proxy:3128",
        "build-arg:HTTP_PROXY": "http://xxxxx@proxy:3128",
        "build-arg:MAIL": "me@example.com",
    }
