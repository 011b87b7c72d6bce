"""Until the facade is there: the built-in networks, and a sentence that there are no others."""

from __future__ import annotations

from typing import Any

from wherry.errors import NotFound, Unsupported
from wherry.network.model import Network


class Networks:
    warning = "this version of wherry has no bridge networks"

    @classmethod
    def open(cls, settings: Any) -> Any:
        return cls()

    def start(self) -> None: ...
    def list(self) -> list[Network]:
        return [Network(id=c * 64, name=n, driver=d, created=0) for c, n, d in (("1", "host", "host"), ("2", "none", "null"))]

    def get(self, ref: str) -> Network:
        for n in self.list():
            if ref == n.name or (ref and n.id.startswith(ref)):
                return n
        raise NotFound(f"network {ref} not found")

    def sandbox(self, owner: str) -> None: ...
    def endpoints(self, i: str) -> tuple[()]:
        return ()
    def endpoints_of(self, i: str) -> tuple[()]:
        return ()

    async def create(self, r: Any) -> Any:
        raise Unsupported(self.warning)

    async def remove(self, r: str) -> Any:
        from wherry.errors import Forbidden
        raise Forbidden(f"{self.get(r).name} is a pre-defined network and cannot be removed")

    async def release(self, o: str) -> None: ...
    async def close(self) -> None: ...
    async def shutdown(self) -> None: ...
