"""Image search: Docker Hub's search API where the registry has it, else its catalogue."""

from __future__ import annotations

import msgspec

from wherry.distribution.client.repository import Repository
from wherry.docker.registry_answers import SearchHit
from wherry.errors import Forbidden, InvalidInput, NotFound, Unauthenticated, Unsupported

__all__ = ["filtered", "search"]

_MOST = 100


class _Hit(msgspec.Struct):
    name: str = ""
    description: str | None = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False

    def shown(self) -> SearchHit:
        """As Docker's API shows it."""
        return SearchHit(
            name=self.name, description=self.description or "", star_count=self.star_count,
            is_official=self.is_official, is_automated=self.is_automated,
        )  # fmt: skip


class _Hits(msgspec.Struct):
    results: list[_Hit] | None = None


class _Catalogue(msgspec.Struct):
    repositories: list[str] | None = None


async def search(registry: Repository, host: str, term: str, limit: int) -> list[SearchHit]:
    """Search a registry for images.

    :param host: how an error calls it.
    :raises Unsupported: it cannot be searched.
    :raises Forbidden: it can, by others.
    """
    try:
        hits = await registry.get_json("/v1/search", _Hits, {"q": term, "n": str(limit)})
        return [hit.shown() for hit in (hits.results or [])[:limit]]
    except (NotFound, InvalidInput, Unauthenticated, Forbidden):
        pass
    try:
        found = await registry.get_json("/v2/_catalog", _Catalogue, {"n": "1000"})
    except (Unauthenticated, Forbidden) as exc:
        raise Forbidden(f"the registry {host} does not show its catalogue to you: {exc.message}") from exc
    except (NotFound, InvalidInput) as exc:
        raise Unsupported(f"the registry {host} cannot be searched: it has neither a search nor a catalogue") from exc
    names = [name for name in found.repositories or [] if term.lower() in name.lower()]
    return [SearchHit(name=name) for name in names[:limit]]


def filtered(hits: list[SearchHit], filters: dict[str, list[str]]) -> list[SearchHit]:
    """Those that pass Docker's filters ``is-official``, ``is-automated`` and ``stars``.

    :raises InvalidInput: a filter is unknown or malformed, in dockerd's words.
    """
    for name in filters:
        if name not in ("is-official", "is-automated", "stars"):
            raise InvalidInput(f"invalid filter '{name}'")
    for name, field in (("is-official", "is_official"), ("is-automated", "is_automated")):
        if values := filters.get(name):
            wanted = _truth(name, values)
            hits = [hit for hit in hits if getattr(hit, field) == wanted]
    for value in filters.get("stars", []):
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise InvalidInput(f"invalid filter 'stars={value}'")
        hits = [hit for hit in hits if hit.star_count >= int(value)]
    return hits


def _truth(name: str, values: list[str]) -> bool:
    if set(values) <= {"true", "1"}:
        return True
    if set(values) <= {"false", "0"}:
        return False
    raise InvalidInput(f"invalid filter '{name}=[{' '.join(values)}]'")
