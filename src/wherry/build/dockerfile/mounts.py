"""RUN's mounts: ``--mount=type=cache,target=/root/.cache``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from wherry.build.dockerfile.fields import comma_separated, parse_bool, unsigned
from wherry.build.dockerfile.instructions import Expand, Run
from wherry.build.dockerfile.suggestions import did_you_mean
from wherry.docker.units import parse_size
from wherry.errors import InvalidInput

__all__ = ["Mount", "MountType", "check_mount", "run_mounts"]


class MountType(StrEnum):
    """The kinds of mounts."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"
    SSH = "ssh"


class Mount(Struct, frozen=True, kw_only=True):
    """A mount of RUN, variables expanded.

    :param from_: a stage's name or number, an image or a named context; empty: the build's context, or nothing.
    :param size: of a tmpfs, in bytes; 0: no limit.
    :param id: of a cache, a secret or an agent; empty: the default.
    :param sharing: ``shared``, ``private``, ``locked``; empty: the default.
    :param env: of a secret: the environment variable; empty: named like the secret; None: none.
    """

    type: MountType = MountType.BIND
    from_: str = ""
    source: str = ""
    target: str = ""
    readonly: bool = True
    size: int = 0
    id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


_SHARING: Final = ("shared", "private", "locked")
_FILE_LIKE: Final = (MountType.SECRET, MountType.SSH, MountType.CACHE)
_REQUIRABLE: Final = (MountType.SECRET, MountType.SSH)
_KEYS: Final = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src",
    "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_TEXTS: Final = {
    "from": "from_", "source": "source", "src": "source", "target": "target", "dst": "target", "destination": "target",
    "id": "id", "env": "env",
}  # fmt: skip
_FLAGS: Final = ("readonly", "ro", "readwrite", "rw", "required")  #: those that may stand without a value


def check_mount(value: str) -> None:
    """What can be said of a ``--mount`` before variables are known.

    :raises InvalidInput: it is wrong whatever the variables are.
    """
    for field in _fields(value):
        key, _, word = field.partition("=")
        if key.lower() == "from" and "$" in word[:-1]:
            raise InvalidInput("'from' doesn't support variable expansion, define alias stage instead")


def run_mounts(run: Run, expand: Expand) -> tuple[Mount, ...]:
    """The mounts of a RUN, in order.

    :param expand: expands the variables of a value.
    :raises InvalidInput: one is wrong, in BuildKit's words; also of `expand`.
    """
    return tuple(_mount(value, expand) for value in run.mounts)


def _fields(value: str) -> list[str]:
    try:
        return comma_separated(value)
    except InvalidInput as exc:
        raise InvalidInput(f"failed to parse csv mounts: {exc.message}") from exc


def _mount(value: str, expand: Expand) -> Mount:
    options: dict[str, Any] = {"type": MountType.BIND}
    for field in _fields(value):
        key, equals, word = field.partition("=")
        key = key.lower()
        if not equals:
            if key not in _FLAGS:
                raise InvalidInput(f"invalid field '{field}' must be a key=value pair")
            word = "true"
        else:
            word = expand(word)
        _set(options, key, word, field)
    options.setdefault("readonly", options["type"] not in (MountType.CACHE, MountType.TMPFS))
    mount = Mount(**options)
    _check(mount)
    return mount


def _set(options: dict[str, Any], key: str, value: str, field: str) -> None:
    kind: MountType = options["type"]
    if (key == "required" and kind not in _REQUIRABLE) or (key == "size" and kind is not MountType.TMPFS):
        raise InvalidInput(f"unexpected key '{key}' for mount type '{kind}'")
    match key:
        case "type" | "sharing":
            options[key] = _type(value) if key == "type" else _sharing(value)
        case "readonly" | "ro" | "required":
            options["required" if key == "required" else "readonly"] = _value(parse_bool, key, value)
        case "readwrite" | "rw":
            options["readonly"] = not _value(parse_bool, key, value)
        case "size":
            options["size"] = _value(parse_size, key, value)
        case "mode" | "uid" | "gid":
            options[key] = _number(key, value)
        case _ if key in _TEXTS:
            options[_TEXTS[key]] = value
        case _:
            raise InvalidInput(did_you_mean(f"unexpected key '{key}' in '{field}'", key, _KEYS))


def _type(value: str) -> MountType:
    try:
        return MountType(value.lower())
    except ValueError:
        raise InvalidInput(did_you_mean(f'unsupported mount type "{value}"', value, list(MountType))) from None


def _sharing(value: str) -> str:
    if value.lower() not in _SHARING:
        raise InvalidInput(did_you_mean(f'unsupported sharing value "{value}"', value, _SHARING))
    return value.lower()


def _value(parse: Callable[[str], int], key: str, value: str) -> int:
    try:
        return parse(value)
    except ValueError:
        raise InvalidInput(f"invalid value for {key}: {value}") from None


def _number(key: str, value: str) -> int:
    try:
        return unsigned(value, 8 if key == "mode" else 10)
    except ValueError:
        raise InvalidInput(f"invalid value {value} for {key}") from None


def _check(mount: Mount) -> None:
    """What does not go together.

    :raises InvalidInput: something does not.
    """
    if mount.type not in _FILE_LIKE:
        for key in ("mode", "uid", "gid"):
            if getattr(mount, key) is not None:
                raise InvalidInput(f'{key} not allowed for "{mount.type}" type mounts')
    if mount.type is MountType.SECRET:
        _check_secret(mount)
    if mount.sharing and mount.type is not MountType.CACHE:
        raise InvalidInput(f"invalid cache sharing set for {mount.type} mount")


def _check_secret(mount: Mount) -> None:
    if mount.from_:
        raise InvalidInput("secret mount should not have a from")
    if mount.sharing:
        raise InvalidInput("secret mount should not define sharing")
    if not (mount.source or mount.target or mount.id):
        raise InvalidInput("invalid secret mount. one of source, target required")
    if mount.source and mount.id:
        raise InvalidInput("both source and id can't be set")
