"""The resolver: from a domain to repositories at the endpoints that answer, with the credentials that belong there."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.distribution.client.credentials import ANONYMOUS, Credentials
from wherry.distribution.client.endpoints import Endpoint, endpoints
from wherry.distribution.client.errors import Transient
from wherry.distribution.client.http import Http
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.settings import RegistrySettings
from wherry.errors import WherryError

__all__ = ["Resolver"]


class Resolver:
    """Resolves a domain and a path to repositories, as containerd's resolver does.

    :param http: the connections to use.
    """

    def __init__(self, http: Http, settings: RegistrySettings) -> None:
        self._http = http
        self.settings = settings

    async def origin(self, domain: str, path: str, credentials: Credentials) -> Repository:
        """The repository at the registry itself, not at a mirror: for pushing, login and search.

        :raises WherryError: it does not answer.
        """
        return await self._first(endpoints(domain, self.settings)[-1], credentials, path, writes=True)

    async def sources(self, domain: str, path: str, credentials: Credentials) -> list[Repository]:
        """The repositories to pull from, best first: at the mirrors, then at the registry itself.

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
        """The first address that answers HTTP; credentials are checked by the first real request.

        One attempt: a refused connection is reported at once, as with Docker.
        """
        failure: Transient | None = None
        for endpoint in addresses:
            repository = Repository(self._http, endpoint, credentials, path, writes=writes)
            try:
                await repository.greet()
            except Transient as exc:
                failure = exc
            else:
                return repository
        assert failure is not None
        raise failure.error from failure
