"""Which checks are wanted: ``# check=skip=A,B;error=true;experimental=all``, and the build argument of that form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from wherry.build.dockerfile.fields import parse_bool
from wherry.build.dockerfile.rules import Rule
from wherry.docker.quoting import quoted
from wherry.errors import InvalidInput

__all__ = ["CheckOptions"]

_IN_COMMENT: Final = re.compile(r"check\s*=\s*(\S+).*", re.IGNORECASE)


class CheckOptions(Struct, frozen=True):
    """Which checks are made.

    :param error: whether a build fails when one finds something.
    """

    skip: frozenset[str] = frozenset()
    skip_all: bool = False
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    error: bool = False

    @classmethod
    def parse(cls, text: str) -> CheckOptions:
        """Read options.

        :raises InvalidInput: they are wrong, in BuildKit's words.
        """
        found: dict[str, Any] = {}
        for part in text.strip().split(";", 2) if text.strip() else ():
            key, equals, value = part.partition("=")
            key = key.strip()
            if not equals:
                raise InvalidInput(f"invalid check option {quoted(part)}")
            if key in ("skip", "experimental"):
                names = frozenset(name.strip() for name in value.split(","))
                found |= {f"{key}_all": True} if names == {"all"} else {key: names}
            elif key == "error":
                found["error"] = _bool(value.strip(), part)
            else:
                raise InvalidInput(f"invalid check option {quoted(key)}")
        return cls(**found)

    def with_comments(self, comments: Iterable[str]) -> CheckOptions:
        """With what a comment above an instruction says for it: ``# check=skip=A``."""
        for comment in comments:
            if match := _IN_COMMENT.fullmatch(comment):
                try:
                    more = CheckOptions.parse(match[1])
                except InvalidInput:
                    return self
                return CheckOptions(
                    self.skip | more.skip,
                    self.skip_all or more.skip_all,
                    self.experimental | more.experimental,
                    self.experimental_all or more.experimental_all,
                    self.error,
                )
        return self

    def wants(self, rule: Rule) -> bool:
        """Whether a rule is to be checked."""
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not self.skip_all and rule.name not in self.skip


def _bool(value: str, part: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise InvalidInput(
            f"failed to parse check option {quoted(part)}: strconv.ParseBool: parsing {quoted(value)}: invalid syntax"
        ) from None
