"""The interface through which the DNS server looks names up; the owner of the server implements it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from wherry.network.model import Address, Prefix

__all__ = ["PORT", "RESOLVER", "Directory", "ResolverConfig", "Upstream"]

RESOLVER = "127.0.0.11"
"""The address of the server in every sandbox, as in Docker."""

PORT = 53


class Upstream(NamedTuple):
    """A server to ask for what is not in the directory.

    :ivar address: its IP address, with ``%zone`` where a link-local one needs it. It is asked from the daemon's own
        network namespace.
    :ivar port: UDP and TCP port.
    """

    address: str
    port: int = PORT


class ResolverConfig(NamedTuple):
    """How the questions of an owner are resolved.

    :ivar domains: names of the networks it is on, lower case: ``x.domain`` is answered here, and is never asked
        upstream.
    :ivar subnets: all subnets of this engine; addresses in them are never asked upstream.
    :ivar upstreams: servers to ask for the rest, in this order; empty: none (an owner on internal networks only).
    :ivar asks_all: whether names that look like ours and are not known are asked upstream all the same: names without a
        dot (``printer``) and names below `domains`. dockerd asks for them, unless the container has an option ``ndots``
        above 0; but then the name of every container that is not running, or was mistyped, is seen by the
        upstream server. So here it is the other way round: only where the user gave the option ``ndots:0``
        (`wherry.network.etc_files.asks_all`).
    """

    domains: frozenset[str] = frozenset()
    subnets: tuple[Prefix, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    asks_all: bool = False


class Directory(Protocol):
    """The names of owners; asked on the event loop's thread, so it must answer from memory.

    Answers are kept by the server until `generation` changes.
    """

    @property
    def generation(self) -> int:
        """A number that is another one whenever any answer of this directory may have changed.

        Counting up where names, addresses, networks or upstream servers change is enough; it is looked at before every
        batch of questions.
        """

    def lookup(self, owner: str, name: str, network: str | None) -> Sequence[Address] | None:
        """The addresses that a name has for an owner.

        :param owner: who asks, as given to `DnsServer.serve`.
        :param name: lower case, without final dot; any characters that a label may hold, dots included.
        :param network: None: on whichever of its networks the name is known, asked in order of their priority, links
            first; else only on the network of this name (lower case), and only if the owner is on it.
        :returns: all addresses of both families, of everyone with this name on that network (an alias may be shared);
            an empty sequence when the name is known but has no address; None when it is unknown.
        """

    def is_foreign(self, name: str, network: str) -> bool:
        """Whether a container has this name on the network of this name (both lower case).

        Asked when `lookup` knows nothing: such a name is not asked upstream either.
        """

    def reverse(self, owner: str, address: Address) -> str | None:
        """The name for an address on one of the owner's networks: ``web.backend``; None when it is not in use."""

    def resolver_config(self, owner: str) -> ResolverConfig:
        """How this owner's questions are resolved."""
