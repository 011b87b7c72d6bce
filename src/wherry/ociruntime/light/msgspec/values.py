"""Values with types."""

from __future__ import annotations

import sys

__all__ = ["DecodeError", "MsgspecError", "Struct", "ValidationError", "convert", "field", "to_builtins"]

_NOTHING = object()


class MsgspecError(Exception):
    """The root of this module's errors."""


class DecodeError(MsgspecError):
    """It is no JSON."""


class ValidationError(DecodeError):
    """A value has another type than it was to have."""


class _Field:
    """What is said of a field beside its type."""

    def __init__(self, default=_NOTHING, default_factory=None, name=None):
        self.default, self.factory, self.name = default, default_factory, name


def field(*, default=_NOTHING, default_factory=None, name=None):
    """Say more of a field than its type."""
    return _Field(default, default_factory, name)


def _camel(name):
    first, *others = name.split("_")
    return first + "".join([one.capitalize() for one in others])


class _Meta(type):
    """Takes the fields out of a class's annotations."""

    def __new__(meta, name, bases, values, **options):
        names = tuple(values.get("__annotations__", ()))
        said = {one: values.pop(one) for one in names if one in values}
        cls = super().__new__(meta, name, bases, values)
        cls.__struct_fields__ = names
        cls._said = said
        cls._plan = None
        return cls

    def __init__(cls, name, bases, values, **options):
        super().__init__(name, bases, values)


class Struct(metaclass=_Meta):
    """A value: its class's annotations are its fields."""

    def __init__(self, **given):
        put = object.__setattr__
        for name, _, default, factory, _ in _plan_of(type(self)):
            if name in given:
                put(self, name, given.pop(name))
            elif factory is not None:
                put(self, name, factory())
            elif default is not _NOTHING:
                put(self, name, default)
            else:
                raise TypeError(f"Missing required argument '{name}'")
        if given:
            raise TypeError(f"Unexpected keyword argument '{next(iter(given))}'")

    def __setattr__(self, name, value):
        raise AttributeError(f"immutable type: '{type(self).__name__}'")

    def __eq__(self, other):
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self):
        return hash(tuple(self.__dict__.values()))

    def __repr__(self):
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({shown})"


def _plan_of(cls):
    """Each field: name, name in JSON, default, factory, and a list for its type, which is empty until it is needed."""
    if cls._plan is None:
        plan = []
        for name in cls.__struct_fields__:
            said = cls._said.get(name, _NOTHING)
            said = said if isinstance(said, _Field) else _Field(said)
            default, factory = said.default, said.factory
            if isinstance(default, dict):
                default, factory = _NOTHING, dict
            plan.append((name, said.name or _camel(name), default, factory, []))
        cls._plan = tuple(plan)
    return cls._plan


def _type_of(cls, name, place):
    if not place:
        place.append(eval(cls.__annotations__[name], vars(sys.modules[cls.__module__])))
    return place[0]


# --------------------------------------------------------------------------------------------------------- from JSON

_KINDS = {str: "str", bool: "bool", int: "int", float: "float", dict: "object", list: "array", type(None): "null"}


def convert(value, kind, path="$"):
    """Return a value of JSON as one of a type.

    :raises ValidationError: it is of another.
    """
    if kind is str or kind is int or kind is bool:
        if type(value) is not kind:
            raise _wrong(kind.__name__, value, path)
        if kind is str and not value.isascii():
            _check(value)
        return value
    if isinstance(kind, _Meta):
        return _struct(value, kind, path)
    arguments = getattr(kind, "__args__", None)
    if arguments is None or not arguments:
        return value  # anything
    origin = getattr(kind, "__origin__", None)
    if origin is tuple:
        if type(value) is not list:
            raise _wrong("array", value, path)
        return tuple([convert(one, arguments[0], f"{path}[...]") for one in value])
    if origin is dict:
        if type(value) is not dict:
            raise _wrong("object", value, path)
        return {convert(key, str, path): convert(one, arguments[1], f"{path}[...]") for key, one in value.items()}
    if type(None) in arguments:
        if value is None:
            return None
        return convert(value, next(one for one in arguments if one is not type(None)), path)
    if value not in arguments:
        raise ValidationError(f"Invalid enum value {value!r} - at `{path}`")
    return value


def _struct(value, cls, path):
    if type(value) is not dict:
        raise _wrong("object", value, path)
    result = object.__new__(cls)
    put = result.__dict__
    for name, key, default, factory, place in _plan_of(cls):
        found = value.get(key, _NOTHING)
        if found is not _NOTHING:
            put[name] = convert(found, _type_of(cls, name, place), f"{path}.{key}")
        elif factory is not None:
            put[name] = factory()
        elif default is not _NOTHING:
            put[name] = default
        else:
            raise ValidationError(f"Object missing required field `{key}`" + (f" - at `{path}`" if path != "$" else ""))
    return result


def _check(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DecodeError("JSON is malformed: invalid surrogate") from None


def _wrong(wanted, value, path):
    return ValidationError(
        f"Expected `{wanted}`, got `{_KINDS.get(type(value), '?')}`" + (f" - at `{path}`" if path != "$" else "")
    )


# ----------------------------------------------------------------------------------------------------------- to JSON


def to_builtins(value):
    """Return what JSON has of a value; what is as it is by default is left out."""
    if isinstance(value, Struct):
        found = {}
        for name, key, default, factory, _ in _plan_of(type(value)):
            one = getattr(value, name)
            usual = factory() if factory is not None else default
            if one is usual or (type(one) in (tuple, dict) and not one and type(usual) is type(one)) or one == usual:
                if not isinstance(one, Struct) or factory is None:
                    continue
                if one == usual:
                    continue
            found[key] = to_builtins(one)
        return found
    if isinstance(value, (tuple, list)):
        return [to_builtins(one) for one in value]
    if isinstance(value, dict):
        return {key: to_builtins(one) for key, one in value.items()}
    return value
