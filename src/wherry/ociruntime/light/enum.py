"""Of `enum`, numbers that have names; what is computed of them is a plain number."""

from __future__ import annotations

__all__ = ["IntEnum", "IntFlag"]


class _Names(type):
    """Makes members of a class's numbers."""

    def __new__(meta, name, bases, values):
        numbers = {key: value for key, value in values.items() if type(value) is int and key[0] != "_"}
        cls = super().__new__(meta, name, bases, {key: one for key, one in values.items() if key not in numbers})
        members = {}
        for key, value in numbers.items():
            member = int.__new__(cls, value)
            member.name = key
            members[key] = member
            type.__setattr__(cls, key, member)
        cls.__members__ = members
        cls._by_value = {int(member): member for member in reversed(members.values())}
        return cls

    def __iter__(cls):
        return iter(cls.__members__.values())

    def __len__(cls):
        return len(cls.__members__)

    def __contains__(cls, value):
        return value in cls._by_value

    def __getitem__(cls, name):
        return cls.__members__[name]

    def __call__(cls, value):
        try:
            return cls._by_value[value]
        except KeyError:
            return cls._missing(value)


class _Number(int, metaclass=_Names):
    name = ""

    @property
    def value(self):
        """The number."""
        return int(self)

    @classmethod
    def _missing(cls, value):
        raise ValueError(f"{value!r} is not a valid {cls.__name__}")


class IntEnum(_Number):
    """Numbers, of which there are no others."""


class IntFlag(_Number):
    """Numbers whose bits are combined."""

    @classmethod
    def _missing(cls, value):
        return value
