"""The proxies that the daemon's environment names."""

from __future__ import annotations

from urllib import request as environment

from yarl import URL

from wherry.distribution.client.addresses import is_loopback

__all__ = ["Proxies"]


class Proxies:
    """Proxies by URL (``HTTPS_PROXY``, ``NO_PROXY``), as Go reads them."""

    def __init__(self) -> None:
        self._proxies: dict[str, str] = environment.getproxies_environment()

    def of(self, url: URL) -> str | None:
        """The proxy for a URL; None: it is reached directly."""
        host = url.host or ""
        if is_loopback(host) or self._is_direct(f"{host}:{url.port}"):
            return None
        proxy = self._proxies.get(url.scheme)
        if proxy is None:
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    def _is_direct(self, address: str) -> bool:
        return bool(environment.proxy_bypass_environment(address, self._proxies))  # type: ignore[attr-defined]
