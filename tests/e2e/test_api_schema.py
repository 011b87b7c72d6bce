"""Answers are what the Engine API's description promises.

The judge itself is proven on dockerd's answers, and on answers that were spoilt.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import swagger
from support.busybox import import_busybox
from support.daemons import Daemon, DockerDaemon
from support.needs import need

pytestmark = need("root", "shared", "busybox")

OLD = "/v1.41"  #: dockerd 20.10's
#: Members that the newest description has dropped, and that older clients still read; dockerd 20.10 answers every one.
DROPPED = {
    "/info": {
        *("BridgeNfIptables", "BridgeNfIp6tables"),
        *("ContainerdCommit.Expected", "InitCommit.Expected", "RuncCommit.Expected"),
        "RegistryConfig.AllowNondistributableArtifactsCIDRs",
        "RegistryConfig.AllowNondistributableArtifactsHostnames",
    },
    "/system/df": {"BuildCache", "BuilderSize", "Containers", "Images", "LayersSize", "Volumes"},
    "/containers/{id}/json": {
        f"NetworkSettings.{name}"
        for name in (
            *("Bridge", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "HairpinMode"),
            *("IPAddress", "IPPrefixLen", "IPv6Gateway", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen"),
            *("MacAddress", "SecondaryIPAddresses", "SecondaryIPv6Addresses"),
        )
    },
    "/images/json": {"VirtualSize"},
    "/images/{name}/json": {
        *("Container", "ContainerConfig", "DockerVersion", "Parent", "VirtualSize"),
        *(f"Config.Attach{name}" for name in ("Stderr", "Stdin", "Stdout")),
        *(f"Config.{name}" for name in ("Domainname", "Hostname", "Image", "OpenStdin", "StdinOnce", "Tty")),
    },
    "/networks": {"Containers"},
}
#: Those that dockerd still answers to clients that name no version.
KEPT = {"/system/df": DROPPED["/system/df"]}


class Scene:
    """A daemon with a running container, a stopped one and an exec."""

    def __init__(self, daemon: Daemon | DockerDaemon, image: str) -> None:
        self.daemon = daemon
        self.image = image
        self.running = self._create("schema-running", ["sleep", "600"])
        daemon.request("POST", f"/containers/{self.running}/start")
        self.stopped = self._create("schema-stopped", ["false"])
        wish = {"Cmd": ["sleep", "600"], "AttachStdout": False}
        self.exec = daemon.request("POST", f"/containers/{self.running}/exec", wish).json["Id"]
        daemon.request("POST", f"/exec/{self.exec}/start", {"Detach": True})

    def _create(self, name: str, command: list[str]) -> str:
        body = {"Image": self.image, "Cmd": command, "HostConfig": {"NetworkMode": "none"}, "Labels": {"a": "b"}}
        answer = self.daemon.request("POST", "/containers/create", body, name=name)
        swagger.check(answer.json, "POST", "/containers/create", 201)
        return str(answer.json["Id"])

    def close(self) -> None:
        for container in (self.running, self.stopped):
            self.daemon.request("DELETE", f"/containers/{container}", force=True)


@pytest.fixture(scope="module", params=["wherry", "dockerd"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    name = "daemon" if request.param == "wherry" else "dockerd"
    daemon = request.getfixturevalue(name)
    scene = Scene(daemon, import_busybox(daemon, request.getfixturevalue("busybox_archive")))
    yield scene
    scene.close()


#: What the description does not have, and no client looks for: it tells more.
OURS = {"/system/df": {"BlobsSize"}}

#: The operation, and how to ask for it.
READS: list[tuple[str, Callable[[Scene], str]]] = [
    ("/version", lambda _: "/version"),
    ("/info", lambda _: "/info"),
    ("/system/df", lambda _: "/system/df"),
    ("/containers/json", lambda _: "/containers/json?all=1&size=1"),
    ("/containers/{id}/json", lambda scene: f"/containers/{scene.running}/json?size=1"),
    ("/containers/{id}/json", lambda scene: f"/containers/{scene.stopped}/json"),
    ("/containers/{id}/top", lambda scene: f"/containers/{scene.running}/top"),
    ("/containers/{id}/changes", lambda scene: f"/containers/{scene.running}/changes"),
    ("/containers/{id}/stats", lambda scene: f"/containers/{scene.running}/stats?stream=0&one-shot=1"),
    ("/images/json", lambda _: "/images/json?all=1"),
    ("/images/{name}/json", lambda scene: f"/images/{scene.image}/json"),
    ("/images/{name}/history", lambda scene: f"/images/{scene.image}/history"),
    ("/exec/{id}/json", lambda scene: f"/exec/{scene.exec}/json"),
    ("/networks", lambda _: "/networks"),
    ("/networks/{id}", lambda _: "/networks/none"),
    ("/volumes", lambda _: "/volumes"),
    ("/plugins", lambda _: "/plugins"),
]


@pytest.mark.parametrize(("path", "target"), READS, ids=[path for path, _ in READS])
def test_an_answer_is_as_the_description_says(scene: Scene, path: str, target: Callable[[Scene], str]) -> None:
    answer = scene.daemon.request("GET", target(scene))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    swagger.check(answer.json, "GET", path)


@pytest.mark.parametrize(("path", "target"), READS, ids=[path for path, _ in READS])
def test_no_member_is_misspelt_and_older_clients_get_those_that_were_dropped(
    scene: Scene, path: str, target: Callable[[Scene], str]
) -> None:
    def unknown(version: str) -> set[str]:
        return swagger.unknown_members(scene.daemon.request("GET", version + target(scene)).json, "GET", path)

    if isinstance(scene.daemon, Daemon):
        assert unknown("") <= KEPT.get(path, set()) | OURS.get(path, set())
        assert unknown(OLD) == DROPPED.get(path, set()) | OURS.get(path, set())
    else:
        assert unknown(OLD) >= DROPPED.get(path, set())  # so the list names nothing that dockerd does not have


@pytest.mark.parametrize(
    ("path", "spoil"),
    [
        ("/containers/json", lambda body: body[0].update(Created="yesterday")),
        ("/containers/json", lambda body: body[0].update(Ports=7)),
        ("/containers/{id}/json", lambda body: body["State"].update(Status="snoozing")),
        ("/containers/{id}/json", lambda body: body["State"].update(Pid="1")),
        ("/images/json", lambda body: body[0].pop("Id")),
        ("/version", lambda body: body.update(Version=1)),
    ],
)
def test_the_judge_finds_what_is_wrong(scene: Scene, path: str, spoil: Callable[[Any], Any]) -> None:
    target = dict(READS)[path](scene)
    body = scene.daemon.request("GET", target).json
    spoilt = copy.deepcopy(body)
    spoil(spoilt)
    swagger.check(body, "GET", path)
    with pytest.raises(AssertionError):
        swagger.check(spoilt, "GET", path)


def test_the_judge_finds_members_that_nobody_knows(scene: Scene) -> None:
    body = scene.daemon.request("GET", "/version").json
    assert swagger.unknown_members({**body, "Verzion": "1"}, "GET", "/version") >= {"Verzion"}
