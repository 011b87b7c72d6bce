"""The startup snapshot of ``wherryd`` (:mod:`wherry.startup`): what is in it, where it is, and when it is executed.

It lies beside this file's compiled code, as ``wherryd.KEY.BOOT``. The key is of all that has to be the same: kernel,
processor, interpreter, and where it looks for modules. A daemon is started once in a boot, so one that was made in an
earlier boot is good for one more start; meanwhile this boot's is made.

Nothing is imported here but what an interpreter has from its beginning: this is all that runs before the snapshot.
"""

from __future__ import annotations

import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

__all__ = ["DELAY", "Start", "become_template", "execute", "make_snapshot", "offer_beside"]

DELAY = 2.0  #: seconds from the first answer on until a snapshot is made
_NAME = "wherryd"
#: What the daemon imports before it answers.
_MODULES = ("daemon.program", "daemon.startup", "daemon.serve", "network.kernel_state.jobs")
_TOO_NEW = (3, 14)  # see wherry.startup.cache
#: Variables by which somebody asks the interpreter, the C library or what the daemon imports for something unusual.
_UNUSUAL = ("PYTHON", "LD_", "GLIBC_", "MALLOC_", "OPENSSL_", "PROTOCOL_BUFFERS_", "SETUPTOOLS_")
#: But these: where modules are is in the key, and the others change little enough to be done afterwards.
_USUAL = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
_FLAGS = (
    "debug", "inspect", "interactive", "optimize", "no_user_site", "no_site",
    "ignore_environment", "verbose", "bytes_warning", "quiet", "isolated", "dev_mode",
)  # fmt: skip
#: Of proc_cpuinfo(5): what the C library and others look at when they choose their functions.
_PROCESSOR = (b"vendor_id", b"cpu family", b"model", b"stepping", b"microcode", b"flags", b"cache size")
#: Of the auxiliary vector, getauxval(3): HWCAP, PAGESZ, HWCAP2, MINSIGSTKSZ.
_AUXILIARY = (16, 6, 26, 51)


def _source() -> str:
    return __file__.rpartition("/wherry/daemon/")[0]


def _directory(source: str) -> str:
    return f"{source}/wherry/daemon/__pycache__"


def _entry(source: str) -> str:
    return f"{source}/wherry/daemon/entry.py"


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


# ------------------------------------------------------------------------------------------------------ may it be used


def _is_possible() -> bool:
    """Whether this process is one as every other: nobody has asked for something that the template has not."""
    if os.geteuid() or os.uname().machine != "x86_64" or sys.version_info >= _TOO_NEW:
        return False
    if None in (sys.stdin, sys.stdout, sys.stderr):
        return False  # what it opens first would take their places
    if any(getattr(sys.flags, name) for name in _FLAGS) or sys.warnoptions or sys.gettrace():
        return False
    if not set(sys._xoptions) <= {"stale"}:
        return False
    for name in os.environ:
        if name not in _USUAL and (name.startswith(_UNUSUAL) or name.endswith("_NO_EXTENSIONS")):
            return False
    import resource  # noqa: PLC0415 - only root's processes come here

    limits = (resource.getrlimit(one)[0] for one in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return all(one == resource.RLIM_INFINITY for one in limits)


def _key(source: str) -> str:
    """Name all that has to be the same, in a few letters."""
    from _blake2 import blake2b  # noqa: PLC0415 - hashlib would load all of OpenSSL

    with open("/proc/cpuinfo", "rb", buffering=0) as file:
        processor, _, _ = file.read(4096).partition(b"\n\n")
    facts = [line for line in processor.splitlines() if line.startswith(_PROCESSOR)]
    with open("/proc/self/auxv", "rb") as file:
        words = memoryview(file.read()).cast("Q").tolist()
    facts += [b"%d %d" % pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0] in _AUXILIARY]
    paths = sorted({*sys.path[1:]} - {source})
    texts = [*os.uname()[2:], sys.version, sys.executable, sys.prefix, *paths]
    return blake2b(b"\0".join([*facts, *map(os.fsencode, texts)]), digest_size=8).hexdigest()


def _found(directory: str, key: str) -> str:
    """Return the path of the snapshot that fits, of this boot if there is one; empty if there is none."""
    prefix = f"{_NAME}.{key}."
    names = [one for one in os.listdir(directory) if one.startswith(prefix) and one.count(".") == 2]
    names.sort(key=lambda one: one.endswith(_boot()), reverse=True)
    return next((f"{directory}/{one}" for one in names if _is_ours(directory, one)), "")


def _is_ours(directory: str, name: str) -> bool:
    """Whether nobody but root can have put it there, or can read it."""
    above, found = os.stat(directory), os.lstat(f"{directory}/{name}")
    if above.st_uid or above.st_mode & 0o022 or found.st_uid:
        return False
    return stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_nlink == 1


def execute() -> None:
    """Become the snapshot; return if there is none that fits, or if its last start has not come to its end.

    Such a start leaves a mark; then the snapshot goes, and this boot has no other.
    """
    try:
        if not _is_possible():
            return
        source = _source()
        directory = _directory(source)
        place = _found(directory, _key(source))
        if not place or _has_failed(directory, place):
            return
        os.close(os.open(_mark(place, os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.execv(place, [_NAME, *sys.argv[1:]])
    except OSError:
        return


# ---------------------------------------------------------------------------------------------- has it worked last time


def _mark(place: str, pid: int) -> str:
    return f"{place}.begun-{pid}"


def _has_failed(directory: str, place: str) -> bool:
    """Whether a process of the snapshot has died before it answered; then nobody will execute it again."""
    prefix = f"{os.path.basename(place)}.begun-"
    for name in os.listdir(directory):
        if name.startswith(prefix):
            pid = name.removeprefix(prefix)
            if pid == str(os.getpid()) or not os.path.exists(f"/proc/{pid}"):
                os.chmod(place, 0o600)
                os.unlink(f"{directory}/{name}")
                return True
    return False


class Start:
    """How this process began.

    :param map_again: what a child calls that goes on in its place; see :func:`wherry.startup.template.become`.
    """

    def __init__(self, map_again: Callable[[], object] = int) -> None:
        self.map_again = map_again
        self._pid = os.getpid()

    def is_over(self) -> None:
        """Take the mark away: the daemon answers, or knows why it does not."""
        directory = _directory(_source())
        try:
            for name in os.listdir(directory):
                if name.endswith(f".begun-{self._pid}"):
                    os.unlink(f"{directory}/{name}")
        except OSError:
            return


# ------------------------------------------------------------------------------------------------------- how it is made


def offer_beside() -> None:
    """Make this boot's snapshot, if there is none; a thread waits for that, and nobody for the thread."""
    try:
        source = _source()
        name = f"{_NAME}.{_key(source)}" if _is_possible() else ""
        is_stale = "stale" in sys._xoptions
        if not name or (not is_stale and os.path.exists(f"{_directory(source)}/{name}.{_boot()}")):
            return
    except OSError:
        return
    from threading import Thread  # noqa: PLC0415 - as above

    Thread(target=_offer, args=(source, name), kwargs={"stale": is_stale}, name="snapshot", daemon=True).start()


def _offer(source: str, name: str, *, stale: bool) -> None:
    from wherry.startup.cache import offer  # noqa: PLC0415 - as above

    def command(place: str) -> list[str]:
        return [sys.executable, "-P", *(["-B"] * sys.dont_write_bytecode), "-X", f"snapshot={place}", _entry(source)]

    offer(_directory(source), name, command, stale=stale, family=_NAME)


def make_snapshot(source: str, place: str) -> NoReturn:
    """Make the snapshot; this process leaves."""
    from pathlib import Path  # noqa: PLC0415
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from wherry.startup.build import Program, make  # noqa: PLC0415

    _stand_back()
    _, key, _ = os.path.basename(place).split(".")
    with TemporaryDirectory(prefix="wherryd-") as directory:
        configuration = f"{directory}/daemon.json"
        Path(configuration).write_text("{}")
        program = Program(
            interpreter=sys.executable,
            template=lambda base: ("-P", "-X", f"template={base}", "-X", f"key={key}", _entry(source)),
            ordinary=("-P", _entry(source)),
            attempt=("--validate", "--config-file", configuration),
            status=0,
            answer=b"configuration OK",
            lasts=True,
        )
        make(program, place)


def _stand_back() -> None:
    """Take only the time that nobody else wants, and be no more precious than others when memory is short."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("0")


def become_template(source: str, options: Mapping[str, object]) -> Start:
    """Import everything, and stop; a process that is made of the snapshot returns from here.

    :raises Unsupported: this process's key is not the one that is asked for.
    """
    from wherry.errors import Unsupported  # noqa: PLC0415

    if options.get("key") != _key(source):
        raise Unsupported("the template finds its modules elsewhere than the daemon does")
    base = int(str(options["template"]))
    from wherry.daemon.aiohttp_server import defer_client  # noqa: PLC0415
    from wherry.startup.template import become  # noqa: PLC0415

    defer_client()
    for name in _MODULES:
        __import__(f"wherry.{name}")

    sys._xoptions.clear()
    map_again = become(base, (sys.executable, "-P", _entry(source)), lasts=True)
    from wherry.linux.process import set_name  # noqa: PLC0415

    set_name(_NAME)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    return Start(map_again)
