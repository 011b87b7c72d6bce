"""``wherry explain``: the network of a container in plain sentences."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["network_sentences"]


def network_sentences(found: dict[str, Any]) -> Iterator[str]:
    """Sentences about a container's network.

    :param found: the member ``Network`` of the response of ``GET /containers/{id}/explain``.
    """
    mode = found["Mode"]
    if mode == "none":
        yield "It has no network: its programs can talk to one another, and to nobody else."
    elif mode == "host":
        yield "It has no network of its own but uses the host's: its ports are the host's, and nothing is in between."
    elif mode.startswith("container:"):
        yield f"It shares the network of the container {mode.partition(':')[2]}: the same addresses, the same ports."
    elif not found["Places"]:
        yield f"When it starts it joins {_list(found['Networks'])}."
    for endpoint in found["Places"]:
        yield from _endpoint(endpoint)
    yield from _ports(found["Ports"])


def _endpoint(endpoint: dict[str, Any]) -> Iterator[str]:
    yield (
        f"On the network {endpoint['Network']} it has the address {_list(endpoint['Addresses'])}. "
        f"Inside, the interface is called {endpoint['Interface']}"
        + (f"; the host sees its other end as {endpoint['HostInterface']}." if endpoint["HostInterface"] else ".")
    )
    if endpoint["Gateways"]:
        yield f"What is not for that network goes out through {_list(endpoint['Gateways'])}, which is the host."
    if endpoint["Names"]:
        yield f"Others on it find it by the name {_list(endpoint['Names'], 'or')}."


def _ports(ports: list[dict[str, Any]]) -> Iterator[str]:
    published = [port for port in ports if "PublicPort" in port]
    for port in published:
        host = f"[{port['IP']}]" if ":" in port["IP"] else port["IP"]
        served = f"{port['PrivatePort']}/{port['Type']}"
        yield f"Who connects to {host}:{port['PublicPort']} on the host reaches its port {served}."
    silent = [f"{port['PrivatePort']}/{port['Type']}" for port in ports if "PublicPort" not in port]
    if silent:
        yield f"It says that it serves {_list(silent)}; from outside its networks nobody reaches that."


def _list(words: list[str], last: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
