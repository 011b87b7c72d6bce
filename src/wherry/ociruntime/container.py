"""A container's directory, ``<root>/<id>/``: all that is known of it between two calls of the command.

``record``: what :class:`Record` has, as bytes that are read without JSON. ``config.json``: the specification that it
was made by, for ``exec``.

The directory itself is what is locked (flock(2)). Whoever makes a container holds the lock until it is made; a
directory without a record that nobody has locked was left behind by a call that was killed, and is removed by
``delete``. A record is replaced by rename(2), so one is either there or not. A process counts as the container's when
its number, its time of start *and* the machine's boot are those of the record.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import stat as modes

from wherry.errors import Conflict, CorruptData, InvalidInput, NotFound
from wherry.linux.proc import read_stat
from wherry.ociruntime.messages import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["WAITING", "Container", "Record", "containers", "state_text"]

#: What a process is called that waits to be started (:mod:`wherry.runtime.steps.birth`).
WAITING = "wherry-created"
#: PF_EXITING: the first process of a PID namespace is on its way out until all others have been reaped.
_EXITING = 0x4
_VERSION = 1
_RECORD, _CONFIG = "record", "config.json"
_LONGEST = 255
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_MISSING = "container does not exist"


class Record:
    """What is remembered of a container.

    :ivar pid: of its first process; 0 while there is none yet. ``started``: when that was, in clock ticks since boot.
    :ivar phase: ``creating``, ``created`` or ``started``.
    :ivar cgroup: path of its control group; ``groups``: the directories, ``freezer``: the file that freezes it.
    :ivar scope: of systemd's, fields of :class:`wherry.runtime.cgroups.scope.Scope`.
    :ivar intel_rdt: fields of :class:`wherry.runtime.intel_rdt.IntelRdt`.
    :ivar own_pids: whether its PID namespace ends with its first process.
    :ivar hooks: those that are still to be run: kind to fields of :class:`wherry.runtime.hooks.Hook`.
    """

    __slots__ = (
        "annotations",
        "boot",
        "bundle",
        "cgroup",
        "created",
        "freezer",
        "groups",
        "hooks",
        "id",
        "intel_rdt",
        "own_pids",
        "phase",
        "pid",
        "rootfs",
        "scope",
        "started",
        "version",
    )

    def __init__(self, **values: Any) -> None:
        self.id: str = values["id"]
        self.version: str = values.get("version", "")
        self.pid: int = values.get("pid", 0)
        self.started: int = values.get("started", 0)
        self.boot: str = values.get("boot", "")
        self.phase: str = values.get("phase", "creating")
        self.bundle: str = values.get("bundle", "")
        self.rootfs: str = values.get("rootfs", "")
        self.created: str = values.get("created", "")
        self.annotations: dict[str, str] = values.get("annotations", {})
        self.cgroup: str = values.get("cgroup", "")
        self.groups: list[str] = values.get("groups", [])
        self.freezer: str = values.get("freezer", "")
        self.scope: tuple[Any, ...] | None = values.get("scope")
        self.intel_rdt: tuple[Any, ...] | None = values.get("intel_rdt")
        self.own_pids: bool = values.get("own_pids", True)
        self.hooks: dict[str, list[tuple[Any, ...]]] = values.get("hooks", {})

    def encode(self) -> bytes:
        """Return it as bytes."""
        return marshal.dumps((_VERSION, {name: getattr(self, name) for name in self.__slots__}))

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """Read what :meth:`encode` wrote.

        :raises CorruptData: it is something else.
        """
        try:
            version, values = marshal.loads(data)
            if version != _VERSION:
                raise CorruptData(f"a record of version {version!r}")
            return cls(**values)
        except (EOFError, ValueError, TypeError, KeyError) as error:
            raise CorruptData("the container's record cannot be read", cause=str(error)) from None

    def status(self) -> str:
        """Return the container's status in the specification's words, and ``paused``."""
        if not self.pid:
            return "creating"
        found = read_stat(self.pid)
        if found is None or found.start_time != self.started or found.flags & _EXITING or self.boot != boot_id():
            return "stopped"
        if self.is_frozen():
            return "paused"
        if self.phase == "creating":
            return "creating"
        # Who sent the signal may have been killed before it could say so.
        return "created" if self.phase == "created" and found.name == WAITING else "running"

    def is_frozen(self) -> bool:
        """Whether its processes stand still."""
        if not self.freezer:
            return False
        try:
            with open(self.freezer, "rb") as file:
                return file.read(16).strip() not in (b"THAWED", b"0")
        except OSError:
            return False

    def thaw(self) -> None:
        """Let its processes go on: a frozen one does not die."""
        if self.freezer:
            try:
                with open(self.freezer, "w") as file:
                    file.write("0" if self.freezer.endswith("cgroup.freeze") else "THAWED")
            except OSError:
                return  # it has gone meanwhile


def boot_id() -> str:
    """Return what names this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


class Container:
    """A container's directory, held open; `close` lets go of the lock."""

    def __init__(self, root: str, name: str, fd: int) -> None:
        self.id = name
        self.path = f"{root}/{name}"
        self._fd = fd

    @classmethod
    def claim(cls, root: str, name: str) -> Container:
        """Make a container's directory, and lock it.

        :raises Conflict: there is one of that name.
        :raises InvalidInput: that is no name for a container.
        """
        _check_name(name)
        os.makedirs(root, 0o700, exist_ok=True)
        try:
            os.mkdir(f"{root}/{name}", 0o700)
        except FileExistsError:
            raise Conflict("container with given ID already exists") from None
        container = cls(root, name, _opened(f"{root}/{name}"))
        fcntl.flock(container._fd, fcntl.LOCK_EX)
        if not container._is_there():
            container.close()
            raise Conflict("the container was deleted while it was being made")
        return container

    @classmethod
    def open(cls, root: str, name: str, *, lock: bool = True) -> Container:
        """Open a container's directory.

        :param lock: wait until nobody else changes it.
        :raises NotFound: there is none.
        """
        _check_name(name)
        try:
            container = cls(root, name, _opened(f"{root}/{name}"))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(_MISSING) from None
        if lock:
            fcntl.flock(container._fd, fcntl.LOCK_EX)
            if not container._is_there():
                container.close()
                raise NotFound(_MISSING)
        return container

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory, and of the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_there(self) -> bool:
        """Whether the directory is still the one of that name: another may have removed it before we had the lock."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def read(self) -> Record:
        """Return its record.

        :raises NotFound: it was never made to the end; or it is being made right now, and has no process yet.
        """
        try:
            record = Record.decode(self._content(_RECORD))
        except FileNotFoundError:
            raise NotFound(_MISSING) from None
        if record.scope is not None:
            _have_all_modules()
        return record

    def write(self, record: Record) -> None:
        """Replace its record, in one step."""
        self._replace(_RECORD, record.encode())

    def read_config(self) -> bytes:
        """Return the specification that it was made by."""
        return self._content(_CONFIG)

    def write_config(self, config: bytes) -> None:
        """Keep the specification that it is made by."""
        self._replace(_CONFIG, config)

    def _content(self, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        with open(fd, "rb") as file:
            return file.read()

    def _replace(self, name: str, data: bytes) -> None:
        fd = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(f"{name}.new", name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self) -> None:
        """Remove the directory; the record goes first, so that half of it is no container."""
        for name in (_RECORD, *os.listdir(self._fd)):
            try:
                os.unlink(name, dir_fd=self._fd)
            except FileNotFoundError:
                continue
        os.rmdir(self.path)


def _have_all_modules() -> None:
    """Start over if the modules are the small ones: who asks systemd needs others (:mod:`wherry.ociruntime.light`)."""
    import re  # noqa: PLC0415

    if needs_all := getattr(re, "NeedsAll", None):
        raise needs_all


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _check_name(name: str) -> None:
    if not name:
        raise InvalidInput("container id cannot be empty")
    if name in (".", "..") or len(name) > _LONGEST or not _LETTERS.issuperset(name):
        raise InvalidInput("invalid container ID format")


def containers(root: str) -> Iterator[Record]:
    """Return all containers of a root, without waiting for those that are being made."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        try:
            if not modes.S_ISDIR(os.lstat(f"{root}/{name}").st_mode):
                continue
            with Container.open(root, name, lock=False) as container:
                yield container.read()
        except (NotFound, CorruptData, InvalidInput, FileNotFoundError):
            continue


def state_text(record: Record, status: str, pid: str = "") -> str:
    """Return a container's state as JSON; see runtime.md, "State".

    :param pid: stands for the number of its process; empty for the number itself.
    """
    number = pid or str(0 if status == "stopped" else record.pid)
    annotations = ",".join(f"{quoted(name)}:{quoted(value)}" for name, value in record.annotations.items())
    fields = [
        ("ociVersion", quoted(record.version)),
        ("id", quoted(record.id)),
        ("pid", number),
        ("status", quoted(status)),
        ("bundle", quoted(record.bundle)),
        ("rootfs", quoted(record.rootfs)),
        ("created", quoted(record.created)),
        ("annotations", f"{{{annotations}}}"),
        ("owner", quoted("")),
    ]
    lines = ",\n".join(f"  {quoted(name)}: {value}" for name, value in fields)
    return f"{{\n{lines}\n}}"
