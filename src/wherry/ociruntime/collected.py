"""The code of all modules that the light verbs may need, collected into one file: a cache, like ``__pycache__``.

To find a module takes longer than to execute it: each is looked for in some directories, its bytecode is opened, read
and compared with its source. Here that is one file; and one stat(2) for each source, as bytecode has it.

It is written by who may write beside the sources, after the first verb that found it out of date.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Module = tuple[bool, str, int, int]

__all__ = ["Collected", "collect"]

_VERSION = 3
#: Bytes at the beginning of the file that say how long the index is.
_SIZE = 8
#: Below ``wherry``; the modules in place of large ones are top-level ones.
_PACKAGES = ("linux", "startup", "oci", "runtime", "ociruntime")
_LIGHT = "wherry/ociruntime/light"


def _place(source: str) -> str:
    return f"{source}/wherry/ociruntime/__pycache__/collected.{sys.implementation.cache_tag}"


class Collected:
    """A finder and loader of modules (`importlib.abc.MetaPathFinder`); false if there is no such file that holds.

    :param source: the directory that ``wherry`` is in.
    """

    def __init__(self, source: str) -> None:
        self._modules: dict[str, Module] = {}
        self._file = -1
        try:
            self._file = os.open(_place(source), os.O_RDONLY | os.O_CLOEXEC)
            index = os.pread(self._file, int.from_bytes(os.pread(self._file, _SIZE, 0), "little"), _SIZE)
            version, interpreter, stamps, modules = marshal.loads(index)
            if (version, interpreter) == (_VERSION, sys.version) and all(_stamp(path) == one for path, one in stamps):
                self._modules = modules
        except (OSError, ValueError, EOFError, TypeError, OverflowError, MemoryError):
            return

    def __bool__(self) -> bool:
        return bool(self._modules)

    def close(self) -> None:
        """Find no more modules."""
        self._modules = {}
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find a module that is in the file."""
        found = self._modules.get(name)
        if found is None:
            return None
        assert sys.__spec__ is not None
        spec = type(sys.__spec__)(name, self, origin=found[1], is_package=found[0])  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave that to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute its code.

        It is read from the file at this moment: each page of memory that is touched costs more than a call.
        """
        _, _, place, size = self._modules[module.__name__]
        exec(marshal.loads(os.pread(self._file, size, place)), module.__dict__)


def collect(source: str) -> None:
    """Write the file, if it may be written."""
    stamps, found = [], []
    for name, path, is_package in _sources(source):
        try:
            stamps.append((path, _stamp(path)))
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec", dont_inherit=True, optimize=2)
        except (OSError, SyntaxError):
            return
        found.append((name, is_package, path, marshal.dumps(code)))
    place = _place(source)
    draft = f"{place}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(draft, "xb") as file:
            file.write(_laid_out(stamps, found))
        os.rename(draft, place)
    except OSError:
        return


def _laid_out(stamps: list[tuple[str, tuple[int, int]]], found: list[tuple[str, bool, str, bytes]]) -> bytes:
    """The index with its size, and the code behind it: an index's numbers have one size, whatever they are."""

    def index(begin: int) -> bytes:
        modules, place = {}, begin
        for name, is_package, path, code in found:
            modules[name] = (is_package, path, place, len(code))
            place += len(code)
        return marshal.dumps((_VERSION, sys.version, stamps, modules))

    first = index(0)
    whole = index(_SIZE + len(first))
    assert len(first) == len(whole)
    return len(whole).to_bytes(_SIZE, "little") + whole + b"".join(code for *_, code in found)


def _sources(source: str) -> Iterator[tuple[str, str, bool]]:
    """Every module: its name, its file, and whether it is a package."""
    yield "wherry.errors", f"{source}/wherry/errors.py", False
    for package in _PACKAGES:
        for folder, folders, files in os.walk(f"{source}/wherry/{package}"):
            folders[:] = [one for one in folders if one not in ("__pycache__", "light")]
            yield from _modules_in(folder, files, os.path.relpath(folder, source).replace("/", "."))
    for folder, folders, files in os.walk(f"{source}/{_LIGHT}"):
        folders[:] = [one for one in folders if one != "__pycache__"]
        package = os.path.relpath(folder, f"{source}/{_LIGHT}").replace("/", ".").strip(".")
        yield from _modules_in(folder, files if package else [one for one in files if one != "__init__.py"], package)


def _modules_in(folder: str, files: list[str], package: str) -> Iterator[tuple[str, str, bool]]:
    for file in files:
        if file == "__init__.py":
            yield package, f"{folder}/{file}", True
        elif file.endswith(".py"):
            yield f"{package}.{file[:-3]}".lstrip("."), f"{folder}/{file}", False


def _stamp(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size
