"""Instructions that set something in the image's configuration."""

from __future__ import annotations

from wherry.build.dockerfile.characters import strip
from wherry.build.dockerfile.instructions import Env, Expose, Label, Maintainer, Stopsignal, User, Volume, Workdir
from wherry.build.dockerfile.words import white_words
from wherry.build.dockerfile.written import Written
from wherry.errors import InvalidInput

__all__ = [
    "parse_env",
    "parse_expose",
    "parse_label",
    "parse_maintainer",
    "parse_stopsignal",
    "parse_user",
    "parse_volume",
    "parse_workdir",
]


def parse_env(written: Written) -> Env:
    return Env(pairs=written.pairs(), **written.origin)


def parse_label(written: Written) -> Label:
    return Label(pairs=written.pairs(), **written.origin)


def parse_expose(written: Written) -> Expose:
    words = white_words(written.rest)
    written.at_least_one(words)
    written.flags()
    return Expose(ports=tuple(sorted(words)), **written.origin)


def parse_volume(written: Written) -> Volume:
    words = written.list_words()
    written.at_least_one(words)
    written.flags()
    paths = tuple(map(strip, words))
    if not all(paths):
        raise InvalidInput("VOLUME specified can not be an empty string")
    return Volume(paths=paths, **written.origin)


def parse_user(written: Written) -> User:
    user = written.only_one()
    written.flags()
    return User(user=user, **written.origin)


def parse_workdir(written: Written) -> Workdir:
    path = written.only_one()
    written.flags()
    return Workdir(path=path, **written.origin)


def parse_stopsignal(written: Written) -> Stopsignal:
    return Stopsignal(signal=written.only_one(), **written.origin)


def parse_maintainer(written: Written) -> Maintainer:
    author = written.only_one()
    written.flags()
    return Maintainer(author=author, **written.origin)
