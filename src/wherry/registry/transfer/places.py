"""Reaching a registry: the first of a domain's addresses that answers, with the credentials that belong there."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.errors import WherryError
from wherry.registry.client.credentials import ANONYMOUS, Credentials
from wherry.registry.client.endpoints import Endpoint, endpoints
from wherry.registry.client.faults import Passing
from wherry.registry.client.http import Http
from wherry.registry.client.repository import Repository
from wherry.registry.client.settings import RegistrySettings

__all__ = ["Reach"]


class Reach:
    """Finds repositories by their domain.

    :param http: the connections to use.
    """

    def __init__(self, http: Http, settings: RegistrySettings) -> None:
        self._http = http
        self.settings = settings

    async def writable(self, domain: str, path: str, credentials: Credentials) -> Repository:
        """A repository to push to: the registry's own.

        :raises WherryError: it does not answer.
        """
        return await self._first(endpoints(domain, self.settings)[-1], credentials, path, writes=True)

    async def readable(self, domain: str, path: str, credentials: Credentials) -> list[Repository]:
        """The places where a repository may be read, best first: mirrors, then the registry itself.

        :raises WherryError: none of them answers.
        """
        found: list[Repository] = []
        failure: WherryError | None = None
        for addresses in endpoints(domain, self.settings, mirrors=True):
            mine = ANONYMOUS if addresses[0].is_mirror else credentials
            try:
                found.append(await self._first(addresses, mine, path, writes=False))
            except WherryError as exc:
                failure = exc
        if not found and failure:
            raise failure
        return found

    async def _first(
        self, addresses: Sequence[Endpoint], credentials: Credentials, path: str, *, writes: bool
    ) -> Repository:
        """The first address at which something speaks HTTP. Whether it likes us shows at the first real request.

        Tried once: where nobody listens, people want to know at once, as with Docker.
        """
        failure: Passing | None = None
        for endpoint in addresses:
            repository = Repository(self._http, endpoint, credentials, path, writes=writes)
            try:
                await repository.greet()
            except Passing as exc:
                failure = exc
            else:
                return repository
        assert failure is not None
        raise failure.error from failure
