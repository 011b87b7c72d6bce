"""A network controller without a kernel: tables, addresses and ports are the real ones, and nothing is asked of Linux.

`network_conformance` is the list of expectations that hold for this one and for the real one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from wherry.errors import SystemFault
from wherry.linux.fd import Fd
from wherry.network.controller import Controller
from wherry.network.ipam.host_networks import HostNetworks
from wherry.network.ipam.subnets import DEFAULT_POOLS
from wherry.network.model import Endpoint, EndpointRequest, Gateways, Network, NetworkSettings
from wherry.network.sandbox import Sandbox
from wherry.network.store import NetworkStore

__all__ = ["FakeController", "FakeReconciler", "FakeSandbox", "fake_controller"]


def fake_controller(root: Path) -> FakeController:
    """A controller that is ready; its default bridge has 10.93.0.1/24."""
    settings = NetworkSettings(data_root=root, exec_root=root, bip="10.93.0.1/24", warm=0)
    controller = FakeController.open(settings)
    assert isinstance(controller, FakeController)
    controller.start()
    return controller


class FakeReconciler:
    """Stands for the kernel: records what it is asked for.

    :ivar asked: the names of the methods that were called, in order.
    :ivar warning: what the kernel lacks.
    :ivar refuse: names of methods that fail.
    """

    def __init__(self, store: NetworkStore) -> None:
        self._store = store
        self.asked: list[str] = []
        self.warning: str | None = None
        self.refuse: set[str] = set()

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        if name in self.refuse:
            raise SystemFault(f"{name} was refused")

    def start(self, then: Callable[[], None]) -> None:
        then()

    async def ready(self) -> None:
        pass

    async def create_network(self, network: Network) -> None:
        self._ask("create_network")

    async def network_created(self, network: Network) -> None:
        pass

    async def removed(self) -> None:
        pass

    async def remove_network(self, network: Network) -> None:
        self._ask("remove_network")

    def remove_network_later(self, network: Network) -> None:
        self.asked.append("remove_network")

    async def create_endpoint(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> Endpoint:
        self._ask("create_endpoint")
        return endpoint

    async def remove_endpoint(
        self, sandbox: Sandbox, network: Network, endpoint: Endpoint, gateways: Gateways | None
    ) -> None:
        self._ask("remove_endpoint")

    def remove_endpoint_later(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> None:
        self.asked.append("remove_endpoint")

    async def publish(self, network: Network, before: Endpoint, after: Endpoint) -> None:
        self._ask("publish")

    async def update_pair_rules(self, sandbox: Sandbox) -> None:
        self._ask("update_pair_rules")

    def forget(self, endpoint: Endpoint) -> None:
        self._store.drop(endpoint)

    async def complete(self, sandbox: Sandbox) -> None:
        self._ask("complete")

    def release_later(self, sandbox: Sandbox, left: Sequence[tuple[Network, Endpoint]]) -> None:
        self.asked.append("release")
        sandbox.close()

    async def stop(self) -> None:
        pass

    async def close(self) -> None:
        pass


class FakeSandbox(Sandbox):
    """A sandbox whose namespace is a descriptor of nothing, and whose DNS sockets are on the host's loopback."""

    async def dns_sockets(self) -> tuple[socket.socket, socket.socket]:
        udp, tcp = (socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
        for one in (udp, tcp):
            one.setblocking(False)
            one.bind(("127.0.0.1", 0))
        tcp.listen()
        return udp, tcp


class FakeController(Controller):
    """The real controller with a `FakeReconciler` in place of the kernel."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.kernel = FakeReconciler(self._store)
        self._reconciler = self.kernel  # type: ignore[assignment]

    def _host_networks(self, besides: Network | None) -> HostNetworks:
        others = [network for network in self._store.networks.values() if network != besides]
        used = tuple(subnet.network for network in others for subnet in network.subnets)
        return HostNetworks(used=used, foreign=(), pools=DEFAULT_POOLS, mtu=1500, ipv6=False)

    def adopt(self, owner: str, owner_name: str, pid: int) -> Sandbox:
        return self._sandbox_of(owner, owner_name)

    async def take(
        self, owner: str, owner_name: str, first: Network | None = None, request: EndpointRequest | None = None
    ) -> Sandbox:
        if owner in self._sandboxes:
            await self.release(owner)
        return self._sandbox_of(owner, owner_name)

    def _sandbox_of(self, owner: str, owner_name: str) -> Sandbox:
        namespace = Fd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        self._sandboxes[owner] = FakeSandbox(self._kernel, namespace, owner, owner_name)
        return self._sandboxes[owner]
