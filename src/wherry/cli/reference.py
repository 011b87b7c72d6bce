"""Image names as people type them: ``busybox`` means ``docker.io/library/busybox:latest``."""

from __future__ import annotations

__all__ = ["familiar", "full_name", "repository_and_tag", "split"]


def split(text: str) -> tuple[str, str, str]:
    """Cut a name into repository, tag and digest; what is not there is empty."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag, digest
    return name, "", digest


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost" or text.lower() != text


def full_name(text: str) -> str:
    """The repository with its registry, without tag: ``docker.io/library/busybox``."""
    name = split(text)[0]
    first, slash, rest = name.partition("/")
    if slash and _is_host(first):
        host, path = ("docker.io" if first == "index.docker.io" else first), rest
    else:
        host, path = "docker.io", name
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return f"{host}/{path}"


def repository_and_tag(text: str) -> tuple[str, str]:
    """The full repository, and the tag or digest to fetch: ``latest`` where nothing was said."""
    _, tag, digest = split(text)
    return full_name(text), digest or tag or "latest"


def familiar(text: str) -> str:
    """The name as Docker shows it: without what goes without saying, but with a tag."""
    name = full_name(text).removeprefix("docker.io/").removeprefix("library/")
    _, tag, digest = split(text)
    if digest:
        return f"{name}:{tag}@{digest}" if tag else f"{name}@{digest}"
    return f"{name}:{tag or 'latest'}"
