"""The names that people give to containers, and those that we make up for them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Container
from typing import Final

from wherry.errors import InvalidInput

__all__ = ["check_name", "made_up_name", "new_id", "short"]

_NAME: Final = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")

# Nautical: how a boat may be, and what sails or rows.
_ADJECTIVES: Final = (
    "able agile amber ample azure blithe bold brave breezy bright brisk calm candid clear clever coastal cool copper "
    "crisp daring deft distant eager early easy fair fast fine fleet fresh gentle glad golden grand green handy happy "
    "hardy hearty honest humble idle jolly keen kind light little lively loyal lucid lucky mellow merry mild misty "
    "modest neat nimble noble northern open patient placid plain polished prime proud quick quiet ready rising robust "
    "salty serene sharp silent silver sleek slim smart smooth snug sober solid southern spry stable steady stout sunny "
    "sure swift tidal tidy tranquil trim trusty upright vivid warm western whole wide willing windy wise witty young"
).split()
_BOATS: Final = (
    "barge bark bireme brig brigantine caique canoe caravel carrack catamaran catboat clipper coble cog coracle "
    "corvette currach cutter dhow dinghy dory dreadnought ferry felucca frigate galiot galleon galley gig gondola "
    "hoy hulk jangada jollyboat junk kayak keelboat ketch knarr launch lighter longship lugger nao outrigger packet "
    "pinnace pirogue polacca pontoon pram proa punt raft sampan schooner scow shallop skiff skipjack sloop smack snow "
    "tartane tender trawler trimaran trireme tug umiak vaka whaler wherry windjammer xebec yacht yawl zebec"
).split()


def new_id() -> str:
    """A new container or exec ID: 64 hexadecimal digits, never all decimal in its short form.

    A short form of digits only would be taken for a number by programs that use it as a host name.
    """
    while True:
        identifier = secrets.token_hex(32)
        if not identifier[:12].isdecimal():
            return identifier


def short(identifier: str) -> str:
    """The first twelve digits of an ID: what people see."""
    return identifier.removeprefix("sha256:")[:12]


def check_name(name: str) -> str:
    """Return the name without its leading slash, or raise in Docker's words.

    :raises InvalidInput: the name has characters that Docker does not allow.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def made_up_name(taken: Container[str]) -> str:
    """A name that is not among those taken."""
    while True:
        name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_BOATS)}"
        if name not in taken:
            return name
        name = f"{name}{secrets.randbelow(1000)}"
        if name not in taken:
            return name
