"""Of `typing`, what is there when annotations are not evaluated."""

from __future__ import annotations

from _collections import _tuplegetter

__all__ = ["TYPE_CHECKING", "Any", "Final", "Literal", "NamedTuple", "NoReturn", "Protocol", "TypeVar", "cast"]

TYPE_CHECKING = False


class _Form:
    """A name in annotations; what is in brackets is kept."""

    def __init__(self, name, arguments=()):
        self.name, self.__args__ = name, arguments

    def __getitem__(self, arguments):
        return _Form(self.name, arguments if isinstance(arguments, tuple) else (arguments,))

    def __or__(self, other):
        return self


Any = _Form("Any")
Final = _Form("Final")
Literal = _Form("Literal")
NoReturn = _Form("NoReturn")


class Protocol:
    """A contract; who keeps it does not have to say so."""

    def __class_getitem__(cls, _):
        return cls


def TypeVar(name, *_, **__):
    """A variable of annotations."""
    return _Form(name)


def cast(_, value):
    """Return the value."""
    return value


class _Tuple(tuple):
    """The base of named tuples: the fields are those of its annotations."""

    __slots__ = ()
    _fields = ()
    _field_defaults = {}

    def __init_subclass__(cls):
        names = tuple(cls.__dict__.get("__annotations__", ()))
        if cls.__bases__[0] is not _Tuple:
            return
        cls._fields = cls.__match_args__ = names
        cls._field_defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        for index, name in enumerate(names):
            setattr(cls, name, _tuplegetter(index, ""))

    def __new__(cls, *values, **named):
        fields = cls._fields
        if len(values) != len(fields):
            if len(values) > len(fields):
                raise TypeError(f"{cls.__name__} takes {len(fields)} arguments, not {len(values)}")
            defaults = cls._field_defaults
            missing = fields[len(values) :]
            try:
                values += tuple([named.pop(name) if name in named else defaults[name] for name in missing])
            except KeyError as error:
                raise TypeError(f"{cls.__name__} lacks the argument {error}") from None
        if named:
            raise TypeError(f"{cls.__name__} has no argument {next(iter(named))!r}, or has it already")
        return tuple.__new__(cls, values)

    @classmethod
    def _make(cls, values):
        return cls(*values)

    def _replace(self, **named):
        result = self._make([named.pop(name, value) for name, value in zip(self._fields, self, strict=True)])
        if named:
            raise ValueError(f"{type(self).__name__} has no field {next(iter(named))!r}")
        return result

    def _asdict(self):
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self):
        shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({shown})"


class _NamedTuple:
    def __mro_entries__(self, _):
        return (_Tuple,)


NamedTuple = _NamedTuple()
