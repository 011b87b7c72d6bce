"""A path leads to its handler, whatever version stands before it."""

from __future__ import annotations

import pytest

from wherry.api.http import errors as api_errors
from wherry.api.http.routing import Route, Router
from wherry.errors import (
    CommandNotFound,
    Conflict,
    CorruptData,
    Forbidden,
    InvalidInput,
    NotFound,
    NotModified,
    SystemFault,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
    WherryError,
)


async def handler(_call: object) -> object:
    raise AssertionError("not called here")


ROUTER = Router(
    Route(method, pattern, handler)  # type: ignore[arg-type]
    for method, pattern in [
        ("GET", "/images/json"),
        ("GET", "/images/{name:path}/json"),
        ("DELETE", "/images/{name:path}"),
        ("GET", "/containers/{id}/json"),
        ("GET", "/version"),
    ]
)


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.43", "/v1.56"])
def test_a_route_is_found_with_and_without_a_version(prefix: str) -> None:
    route, version, path = ROUTER.find("GET", f"{prefix}/containers/web-1/json")
    assert route.pattern == "/containers/{id}/json"
    assert path == {"id": "web-1"}
    assert version == ((1, int(prefix[4:])) if prefix else (1, 56))


def test_a_name_of_an_image_may_have_slashes() -> None:
    _, _, path = ROUTER.find("GET", "/v1.43/images/registry.example:5000/team/app:1.0/json")
    assert path == {"name": "registry.example:5000/team/app:1.0"}


def test_a_fixed_path_goes_before_a_name() -> None:
    route, _, _ = ROUTER.find("GET", "/images/json")
    assert route.pattern == "/images/json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("POST", "/version"),
        ("GET", "/"),
        ("GET", "*"),
        ("GET", "/containers//json"),
        ("GET", "/containers/a/b/json"),
        ("GET", "/v1.43"),
        ("GET", "/version/"),
    ],
)
def test_what_is_no_page_is_said_in_dockerds_words(method: str, path: str) -> None:
    with pytest.raises(NotFound, match=r"^page not found$"):
        ROUTER.find(method, path)


def test_a_client_that_is_too_new_is_told_the_newest_version() -> None:
    # docker's client shows this sentence, and docker-py's negotiation reads it
    with pytest.raises(InvalidInput) as caught:
        ROUTER.find("GET", "/v1.99/version")
    assert str(caught.value) == "client version 1.99 is too new. Maximum supported API version is 1.56"


def test_a_client_that_is_too_old_is_told_the_oldest_version() -> None:
    with pytest.raises(InvalidInput) as caught:
        ROUTER.find("GET", "/v1.1/version")
    assert str(caught.value) == (
        "client version 1.1 is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version"
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("x"), 400),
        (CommandNotFound("x"), 400),
        (Unauthenticated("x"), 401),
        (Forbidden("x"), 403),
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (NotModified("x"), 304),
        (TooLarge("x"), 413),
        (SystemFault("x"), 500),
        (CorruptData("x"), 500),
        (Unsupported("x"), 501),
        (Unavailable("x"), 503),
        (WherryError("x"), 500),
        (KeyError("x"), 500),
    ],
)
def test_every_kind_of_error_has_its_status(error: Exception, status: int) -> None:
    assert api_errors.status_of(error) == status


def test_an_unexpected_error_becomes_a_sentence() -> None:
    assert api_errors.sentence_of(KeyError("x")) == "internal error: KeyError: 'x'"
    assert api_errors.sentence_of(ValueError()) == "internal error: ValueError"
