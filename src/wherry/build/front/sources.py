"""Source operations, in BuildKit's words."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wherry.build.model.graph import SourceOp
from wherry.docker.reference import Reference

__all__ = ["http_source", "image_source", "layout_source", "local_source"]


def image_source(reference: Reference, mode: str = "default") -> SourceOp:
    """An image of a registry's, or of this machine's.

    :param mode: ``pull`` or ``local``, or ``default``.
    """
    attributes = {"image.resolvemode": mode} if mode != "default" else {}
    return SourceOp(f"docker-image://{reference.with_default_tag()}", attributes)


def layout_source(reference: Reference, store: str, session: str) -> SourceOp:
    """An image of an OCI layout of the client's."""
    attributes = {"oci.store": store} | ({"oci.session": session} if session else {})
    return SourceOp(f"oci-layout://{reference}", attributes)


def local_source(
    name: str,
    *,
    session: str,
    shared_key: str,
    follow: Iterable[str] = (),
    exclude: Iterable[str] = (),
    compare: bool = True,
) -> SourceOp:
    """A directory of the client's.

    :param shared_key: under which it is kept, so that the next build sends what has changed only.
    :param follow: paths that are wanted, and what they point at; empty: all.
    :param exclude: patterns of what is not.
    :param compare: whether files that look unchanged are not sent.
    """
    attributes = {"local.sharedkeyhint": shared_key}
    if session:
        attributes["local.session"] = session
    if paths := list(follow):
        attributes["local.followpaths"] = _list(paths)
    if patterns := list(exclude):
        attributes["local.excludepatterns"] = _list(patterns)
    if not compare:
        attributes["local.differ"] = "none"
    return SourceOp(f"local://{name}", attributes)


def http_source(url: str, filename: str, checksum: str = "") -> SourceOp:
    """A file of a web server's, under a name; its digest has to be `checksum`, if there is one."""
    attributes = {"http.filename": filename} | ({"http.checksum": checksum} if checksum else {})
    return SourceOp(url, attributes)


def _list(values: list[str]) -> str:
    return msgspec.json.encode(values).decode()
