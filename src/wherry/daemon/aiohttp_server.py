"""aiohttp's server without its client, until somebody needs the client.

``import aiohttp`` imports everything that aiohttp has. The daemon is a server until something is pulled, and what it
does not need is a third: 5 MB, and a tenth of the time until the first answer.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

__all__ = ["defer_client"]

_LOCK: Final = threading.RLock()


class _Deferred(ModuleType):
    """A package whose modules can be imported, and whose own code runs when a name is asked for that it defines."""

    _is_executed = False

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return ""  # asked for by the server's modules, for a header that we replace
        if name.startswith("__"):
            raise AttributeError(name)
        if find_spec(f"{self.__name__}.{name}"):  # not under the lock: who imports a module of it may hold another one
            return import_module(f"{self.__name__}.{name}")
        with _LOCK:
            if not self._is_executed:
                self._execute()
        if name in vars(self):
            return vars(self)[name]
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")

    def _execute(self) -> None:
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self._is_executed = True
        try:
            self.__spec__.loader.exec_module(self)
        except BaseException:
            self._is_executed = False
            raise


def defer_client() -> None:
    """Let ``aiohttp`` be only what is imported of it; to be called before anything is.

    Whoever imports the package later and uses the client finds it whole.
    """
    name = "aiohttp"
    spec = find_spec(name) if name not in sys.modules else None
    if spec is None:
        return
    module = _Deferred(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    module.__package__, module.__path__ = name, list(spec.submodule_search_locations or ())
    sys.modules[name] = module
