"""Instructions that bring files: COPY and ADD."""

from __future__ import annotations

from typing import Any

from wherry.build.dockerfile.flags import Flags, Kind
from wherry.build.dockerfile.instructions import Add, Copy, Heredoc, InlineFile
from wherry.build.dockerfile.lines import heredoc_of, without_tabs
from wherry.build.dockerfile.written import Written
from wherry.errors import InvalidInput

__all__ = ["parse_add", "parse_copy"]


def parse_copy(written: Written) -> Copy:
    words = _paths(written)
    flags = written.flags(
        chown=Kind.TEXT, from_=Kind.TEXT, chmod=Kind.TEXT, link=Kind.BOOL, exclude=Kind.TEXTS, parents=Kind.BOOL
    )
    return Copy(from_=flags.text("from"), parents=flags.true("parents"), **_common(written, words, flags))


def parse_add(written: Written) -> Add:
    words = _paths(written)
    flags = written.flags(
        chown=Kind.TEXT,
        chmod=Kind.TEXT,
        link=Kind.BOOL,
        keep_git_dir=Kind.BOOL,
        checksum=Kind.TEXT,
        unpack=Kind.BOOL,
        exclude=Kind.TEXTS,
    )
    return Add(
        checksum=flags.text("checksum"),
        keep_git_dir=flags.maybe("keep-git-dir"),
        unpack=flags.maybe("unpack"),
        **_common(written, words, flags),
    )


def _common(written: Written, words: list[str], flags: Flags) -> dict[str, Any]:
    """What COPY and ADD have in common."""
    sources, files = _sources(written, words)
    return {
        "sources": sources,
        "destination": words[-1],
        "files": files,
        "chown": flags.text("chown"),
        "chmod": flags.text("chmod"),
        "link": flags.true("link"),
        "exclude": flags.texts("exclude"),
        **written.origin,
    }


def _paths(written: Written) -> list[str]:
    words = written.list_words()
    if len(words) < 2:
        raise InvalidInput(
            f"{written.name} requires at least two arguments, but only one was provided."
            " Destination could not be determined"
        )
    return words


def _sources(written: Written, words: list[str]) -> tuple[tuple[str, ...], tuple[InlineFile, ...]]:
    """The sources that are paths, and those that are heredocs."""
    if _heredoc(words[-1]):
        raise InvalidInput(f"{written.name} cannot accept a heredoc as a destination")
    contents = {heredoc.name: heredoc.content for heredoc in written.line.heredocs}
    paths, files = [], []
    for word in words[:-1]:
        if heredoc := _heredoc(word):
            content = contents.get(heredoc.name, "")
            files.append(InlineFile(heredoc.name, without_tabs(content) if heredoc.chomp else content, heredoc.expand))
        else:
            paths.append(word)
    return tuple(paths), tuple(files)


def _heredoc(word: str) -> Heredoc | None:
    try:
        return heredoc_of(word)
    except InvalidInput:
        return None
