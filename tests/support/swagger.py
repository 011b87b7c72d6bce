"""The Engine API's own description, as a judge of answers.

Swagger 2.0 is JSON Schema with a few differences, which are translated here:

* ``x-nullable`` means that null is allowed. dockerd also answers null where a list or an object is empty (Go's nil
  slices and maps), whether or not the description says so: its clients are used to that, and so it is allowed.
* A description does not forbid members that it does not name. Those are found by :func:`unknown_members`, since they
  are either misspelt or ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import yaml

from support.needs import shared

Json = Any

#: Where dockerd answers null though the description has a number: pointers in Go that the description forgot.
NULLS = {("GET", "/containers/{id}/json", "HostConfig/MemorySwappiness"), ("GET", "/exec/{id}/json", "ExitCode")}


@cache
def document() -> dict[str, Any]:
    """Return the description."""
    text = (shared() / "specs/engine-api-1.56.swagger.yaml").read_text()
    loaded: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


@cache
def _definitions() -> dict[str, Any]:
    return {name: translate(schema) for name, schema in document()["definitions"].items()}


def translate(schema: Json) -> Json:
    """Return a Swagger schema as a JSON Schema."""
    if isinstance(schema, list):
        return [translate(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        name: translate(value) for name, value in schema.items() if not name.startswith("x-") and name != "example"
    }
    kind = schema.get("type")
    if isinstance(kind, str) and (schema.get("x-nullable") or kind in {"array", "object"}):
        result["type"] = [kind, "null"]
        if "enum" in schema:
            result["enum"] = [*schema["enum"], None]
    return result


def response_schema(method: str, path: str, status: int = 200) -> Json:
    """Return the schema of an answer's body.

    :param path: as the description has it: ``"/containers/{id}/json"``.
    """
    return document()["paths"][path][method.lower()]["responses"][status]["schema"]


def check(body: Json, method: str, path: str, status: int = 200) -> None:
    """Fail unless a body is what the description promises."""
    schema = {**translate(response_schema(method, path, status)), "definitions": _definitions()}
    found = [
        f"{method} {path}: {place}: {error.message[:300]}"
        for error in jsonschema.Draft7Validator(schema).iter_errors(body)
        for place in ["/".join(map(str, error.absolute_path))]
        if not (error.instance is None and (method, path, place) in NULLS)
    ]
    assert not found, "\n".join(sorted(found))


def unknown_members(body: Json, method: str, path: str, status: int = 200) -> set[str]:
    """Return the members, as dotted paths, that the description does not name."""
    return set(_unknown(body, response_schema(method, path, status), ""))


def _unknown(body: Json, schema: Json, where: str) -> Iterator[str]:
    schema = _resolved(schema)
    if isinstance(body, list):
        for item in body:
            yield from _unknown(item, schema.get("items", {}), where)
    elif isinstance(body, dict) and schema.get("properties"):
        for name, value in body.items():
            inside = schema["properties"].get(name, schema.get("additionalProperties"))
            place = f"{where}.{name}".lstrip(".")
            if inside is None or inside is False:
                yield place
            elif isinstance(inside, dict):
                yield from _unknown(value, inside, place)


def _resolved(schema: Json) -> dict[str, Any]:
    """Follow references, and join what ``allOf`` says."""
    while "$ref" in schema:
        schema = document()["definitions"][schema["$ref"].rpartition("/")[2]]
    if "allOf" not in schema:
        return dict(schema)
    joined: dict[str, Any] = {"properties": dict(schema.get("properties", {}))}
    for part in schema["allOf"]:
        joined["properties"].update(_resolved(part).get("properties", {}))
    return joined
