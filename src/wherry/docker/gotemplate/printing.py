"""Values as Go prints them: ``map[a:1 b:2]``, ``[x y]``, ``<nil>``, and ``printf``."""

from __future__ import annotations

import re
from math import isfinite, isnan
from typing import Any

from wherry.docker.gotemplate.go_types import Map, NilList, NilPointer

__all__ = ["go_json", "go_print", "go_printf", "go_string", "go_type", "length_of"]

_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+)?)?(?P<verb>.)", re.DOTALL)
MAX_WIDTH = 10_000
MAX_FILLING = 1 << 20  # what widths and precisions of one printf may come to


def go_type(value: Any) -> str:
    """Name a value's type as Go would."""
    if value is None:
        return "<nil>"
    names = {bool: "bool", str: "string", int: "int", float: "float64", list: "[]interface {}"}
    if isinstance(value, list):
        return names[list]
    return names.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "func")


def go_string(value: Any) -> str:
    """Print one value as ``%v`` does."""
    if value is None or isinstance(value, NilPointer):
        return "<nil>"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_string(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(go_string(item) for item in value) + "]"
    return str(value)


def _float(value: float) -> str:
    if not isfinite(value):
        return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        text = f"{value:.17f}" if "e" in repr(value) else repr(value)
        return text.removesuffix(".0").rstrip("0") if "." in text and "e" in repr(value) else text.removesuffix(".0")
    return re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", repr(value)).replace(".0e", "e")


def length_of(value: Any) -> int:
    """About how many characters a value has when it is printed."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return 8 + sum(8 + length_of(key) + length_of(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return 8 + sum(map(length_of, value))
    return value.bit_length() // 3 if isinstance(value, int) else 8


def go_json(value: Any) -> str:
    """Write JSON as Go does: no spaces, functions left out."""
    import json

    from wherry import legible

    return legible.in_json(json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":")))


def _plain(value: Any) -> Any:
    if isinstance(value, NilPointer | NilList) or (isinstance(value, Map) and value.is_nil):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def go_print(values: tuple[Any, ...]) -> str:
    """Print values as ``print`` does: a space between two operands when neither is a string."""
    result = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            result += " "
        result += go_string(value)
    return result


def go_printf(template: str, values: tuple[Any, ...]) -> str:
    """Print as ``printf`` does; what does not fit shows as Go shows it: ``%!d(string=x)``."""
    rest = list(values)
    filling = 0

    def number(text: str | None) -> int | None:
        if text == "*":
            return int(rest.pop(0)) if rest and isinstance(rest[0], int) else None
        return int(text) if text else None

    def replace(found: re.Match[str]) -> str:
        nonlocal filling
        verb = found["verb"]
        if verb == "%":
            return "%"
        width, precision = number(found["width"]), number(found["precision"])
        filling += sum(min(max(wanted or 0, 0), MAX_WIDTH) for wanted in (width, precision))
        if filling > MAX_FILLING:
            raise ValueError("the widths are too large together")
        if "." in found.group() and precision is None:
            precision = 0
        if not rest:
            return f"%!{verb}(MISSING)"
        text = _verb(verb, rest.pop(0), found["flags"], None if precision is None else min(precision, MAX_WIDTH))
        return _pad(text, found["flags"], min(width or 0, MAX_WIDTH), verb)

    result = _VERB.sub(replace, template)
    if rest:
        extra = ", ".join(f"{go_type(value)}={go_string(value)}" for value in rest)
        result += f"%!(EXTRA {extra})"
    return result


def _pad(text: str, flags: str, width: int, verb: str) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and verb not in "sqvt":
        sign = text[:1] if text[:1] in ("+", "-") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _verb(verb: str, value: Any, flags: str, precision: int | None) -> str:
    if verb == "v":
        return go_json_like(value) if "#" in flags else go_string(value)
    if verb == "T":
        return go_type(value)
    if isinstance(value, bool):
        return go_string(value) if verb == "t" else _misfit(verb, value)
    if isinstance(value, str):
        return _text_verb(verb, value, precision)
    if isinstance(value, int):
        return _int_verb(verb, value, flags)
    if isinstance(value, float):
        return _float_verb(verb, value, flags, precision)
    if isinstance(value, list | tuple) and verb in "sdq":
        return "[" + " ".join(_verb(verb, item, flags, precision) for item in value) + "]"
    return _misfit(verb, value)


def go_json_like(value: Any) -> str:
    """Print a value as ``%#v`` does, roughly: strings in quotes."""
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else go_string(value)


def _misfit(verb: str, value: Any) -> str:
    if value is None:
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({go_type(value)}={go_string(value)})"


def _text_verb(verb: str, value: str, precision: int | None) -> str:
    if verb == "s":
        return value if precision is None else value[:precision]
    if verb == "q":
        return go_json_like(value)
    if verb in "xX":
        digits = value.encode("utf-8", "surrogatepass").hex()
        return digits if verb == "x" else digits.upper()
    return _misfit(verb, value)


def _int_verb(verb: str, value: int, flags: str) -> str:
    sign = "+" if "+" in flags and value >= 0 else " " if " " in flags and value >= 0 else ""
    if verb in "dxXob":
        return sign + format(value, ("#" if "#" in flags and verb != "d" else "") + verb)
    if verb in ("c", "q", "U") and 0 <= value <= 0x10FFFF:
        return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb]
    return _misfit(verb, value)


def _float_verb(verb: str, value: float, flags: str, precision: int | None) -> str:
    if verb not in "feEgGF":
        return _misfit(verb, value)
    sign = "+" if "+" in flags else ""
    if verb in "gG" and precision is None:
        return (sign if value >= 0 else "") + _float(value)
    return format(value, f"{sign}.{6 if precision is None else precision}{verb}")
