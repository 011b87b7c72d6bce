"""What every operation of the API answers, as one scenario: for an engine on fakes and for a daemon on a kernel alike.

The engine has one image, ``image``, whose containers can run ``sleep``. The steps build on each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.api_harness import small_archive
from support.unixhttp import Answer

__all__ = ["STEPS", "Step"]

CONTAINERS = "/containers/{id:path}"
IMAGES = "/images/{name:path}"


@dataclass(frozen=True)
class Step:
    """One request and what its answer must be.

    :ivar pattern: the operation, as `wherry.api` declares it; empty names in braces take their values from `names`.
    :ivar message: what the error's sentence must contain.
    :ivar check: must hold of the body, decoded if it is JSON.
    :ivar kernel: it needs more of the machine than fakes give: cgroups, namespaces.
    """

    method: str
    pattern: str
    status: int
    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    message: str = ""
    check: Callable[[Any], object] | None = None
    kernel: bool = False

    @property
    def target(self) -> str:
        """The path of the request."""
        path = self.pattern.replace(":path}", "}")
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    def judge(self, answer: Answer) -> None:
        """See that an answer is as it must be."""
        asked = (
            f"{self.method} {self.target} {dict(self.query)} {self.body if not isinstance(self.body, bytes) else ''}"
        )
        assert answer.status == self.status, f"{asked}: {answer.status} {answer.body[:300]!r}"
        if self.status >= 400:
            assert set(answer.json) == {"message"}, asked
            assert self.message in answer.message, f"{asked}: {answer.message}"
        if self.check is not None:
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            assert self.check(_decoded(answer.body) if is_json else answer.body), f"{asked}: {answer.body[:600]!r}"


def _decoded(body: bytes) -> Any:
    """One JSON value, or the list of those that stand in lines."""
    try:
        return json.loads(body)
    except ValueError:
        return [json.loads(line) for line in body.splitlines() if line]


def on(name: str, method: str, rest: str, status: int, **members: Any) -> Step:
    """A step about a container."""
    return Step(method, CONTAINERS + rest, status, {"id": name}, **members)


def image(name: str, method: str, rest: str, status: int, **members: Any) -> Step:
    """A step about an image."""
    return Step(method, IMAGES + rest, status, {"name": name}, **members)


def network(name: str, method: str, rest: str, status: int, **members: Any) -> Step:
    """A step about a network."""
    return Step(method, "/networks/{id}" + rest, status, {"id": name}, **members)


def create(name: str, status: int, message: str = "", **body: Any) -> Step:
    """A container that sleeps."""
    whole = {"Image": "image", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL", **body}
    return Step("POST", "/containers/create", status, query={"name": name}, body=whole, message=message)


NO_CONTAINER = "No such container: nope"
SYSTEM = [
    Step("GET", "/_ping", 200, check=lambda body: body == b"OK"),
    Step("HEAD", "/_ping", 200, check=lambda body: body == b""),
    Step("GET", "/version", 200, check=lambda it: it["ApiVersion"] and it["Os"] == "linux"),
    Step("GET", "/info", 200, check=lambda it: it["Containers"] == 0 and it["Images"] > 0),
    Step("POST", "/auth", 400, body={"username": "u", "password": "p", "serveraddress": "not a name!"}),
    Step("GET", "/plugins", 200, check=lambda it: it == []),
    Step("GET", "/plugins", 400, query={"filters": {"colour": ["red"]}}, message="invalid filter"),
    Step("GET", "/events", 400, query={"filters": "{"}, message="invalid"),
    Step("GET", "/no/such/page", 404, message="page not found"),
]
BEFORE = [
    Step("GET", "/containers/json", 200, query={"all": True}, check=lambda it: it == []),
    Step("GET", "/containers/json", 400, query={"filters": {"colour": ["red"]}}, message="invalid filter 'colour'"),
    create("web", 404, "No such image: nope", Image="nope"),
    create("w/b", 400, "Invalid container name"),
    create("web", 400, "invalid restart policy", HostConfig={"RestartPolicy": {"Name": "never"}}),
    Step("POST", "/containers/create", 400, query={"name": "web"}, message="config cannot be empty"),
    create("web", 201, Labels={"a": "b"}),
    create("web", 409, 'The container name "/web" is already in use'),
    on("web", "GET", "/json", 200, check=lambda it: it["State"]["Status"] == "created" and it["Name"] == "/web"),
    on("web", "GET", "/json", 200, query={"size": True}, check=lambda it: it["SizeRw"] == 0),
    Step(
        "GET",
        "/containers/json",
        200,
        query={"all": True, "size": True, "filters": {"label": ["a=b"]}},
        check=lambda it: [one["Names"] for one in it] == [["/web"]] and it[0]["SizeRw"] == 0,
    ),
    Step("GET", "/containers/json", 200, check=lambda it: it == []),
    on("web", "POST", "/pause", 409, message="is not running"),
    on("web", "POST", "/kill", 409, message="is not running"),
    on("web", "GET", "/top", 409, message="is not running"),
    on("web", "POST", "/stop", 304),
    on(
        "web",
        "GET",
        "/stats",
        200,
        query={"stream": False, "one-shot": True},
        check=lambda it: it["memory_stats"] == {},
    ),
    on("web", "GET", "/logs", 400, message="you must choose at least one stream"),
    on("web", "POST", "/exec", 409, body={"Cmd": ["true"]}, message="is not running"),
    on("web", "POST", "/resize", 409, query={"h": 1, "w": 1}, message="is not running"),
    on("web", "POST", "/wait", 400, query={"condition": "when-i-say"}, message="invalid condition"),
]
RUNNING = [
    on("web", "GET", "/checkpoints", 200, check=lambda it: it == []),
    on("web", "POST", "/checkpoints", 409, body={"CheckpointID": "one"}, message="is not running"),
    on("web", "POST", "/start", 404, query={"checkpoint": "one"}, message="checkpoint one does not exist"),
    Step(
        "DELETE",
        "/containers/{id:path}/checkpoints/{checkpoint}",
        404,
        {"id": "web", "checkpoint": "one"},
        message="checkpoint one does not exist for container web",
    ),
    Step(
        "POST",
        "/wherry/containers/{id}/checkpoints/{checkpoint}/push",
        404,
        {"id": "web", "checkpoint": "one"},
        query={"reference": "x/y"},
        message="checkpoint one does not exist for container web",
    ),
    Step(
        "POST",
        "/wherry/containers/{id}/checkpoints/{checkpoint}/pull",
        400,
        {"id": "web", "checkpoint": ".x"},
        query={"reference": "x/y"},
        message="invalid checkpoint ID",
    ),
    on("web", "POST", "/start", 204),
    on("web", "POST", "/start", 304),
    on("web", "GET", "/json", 200, check=lambda it: it["State"]["Running"] and it["State"]["Pid"] > 0),
    Step(
        "GET",
        "/containers/json",
        200,
        query={"filters": {"status": ["running"]}},
        check=lambda it: it[0]["State"] == "running" and it[0]["Status"].startswith("Up"),
    ),
    Step("GET", "/info", 200, check=lambda it: it["ContainersRunning"] == 1),
    on("web", "GET", "/logs", 200, query={"stdout": True}, check=lambda body: body == b""),
    on("web", "GET", "/changes", 200, check=lambda it: isinstance(it, list | None)),
    on("web", "GET", "/explain", 200, check=lambda it: it["Name"] == "web" and it["State"] == "running", kernel=True),
    on("web", "GET", "/top", 200, check=lambda it: "PID" in it["Titles"] and len(it["Processes"]) == 1, kernel=True),
    on(
        "web",
        "GET",
        "/stats",
        200,
        query={"stream": False},
        check=lambda it: it["pids_stats"]["current"] == 1,
        kernel=True,
    ),
    on("web", "POST", "/pause", 204, kernel=True),
    on("web", "POST", "/pause", 409, message="is already paused", kernel=True),
    on("web", "POST", "/unpause", 204, kernel=True),
    on("web", "POST", "/unpause", 409, message="is not paused", kernel=True),
    on("web", "POST", "/resize", 400, query={"h": "tall", "w": 1}, message="invalid"),
    on("web", "POST", "/resize", 200, query={"h": 24, "w": 80}),
    on("web", "POST", "/rename", 204, query={"name": "www"}),
    on("www", "POST", "/rename", 400, query={"name": "www"}, message="Renaming a container with the same name"),
    on("www", "POST", "/update", 200, body={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}),
    on("www", "POST", "/update", 400, body={"RestartPolicy": {"Name": "never"}}, message="invalid restart policy"),
    on(
        "www",
        "POST",
        "/attach",
        400,
        query={"stream": True, "stdout": True, "detachKeys": "nonsense-keys"},
        message="Invalid detach keys",
    ),
    on("www", "GET", "/attach/ws", 400),
    on("www", "DELETE", "", 409, message="cannot remove container"),
    on("www", "POST", "/kill", 400, query={"signal": "SIGNOTHING"}, message="invalid signal"),
    on("www", "POST", "/restart", 204, query={"t": 1}),
    on("www", "POST", "/kill", 204),
    on("www", "POST", "/wait", 200, check=lambda it: it["StatusCode"] == 137),
]
ENDED = [
    on("www", "GET", "/json", 200, check=lambda it: it["State"]["ExitCode"] == 137),
    on("www", "GET", "/export", 200, check=lambda body: len(body) % 512 == 0),
    on("www", "HEAD", "/archive", 200, query={"path": "/"}, kernel=True),
    on("www", "GET", "/archive", 200, query={"path": "/"}, check=lambda body: len(body) % 512 == 0, kernel=True),
    on("www", "GET", "/archive", 404, query={"path": "/x"}, message="Could not find the file /x", kernel=True),
    on("www", "GET", "/archive", 400, message="bad parameter"),
    Step("POST", "/commit", 201, query={"container": "www", "repo": "saved", "tag": "1"}, check=lambda it: it["Id"]),
    Step("POST", "/commit", 404, query={"container": "nope"}, message=NO_CONTAINER),
    image("saved:1", "GET", "/json", 200, check=lambda it: it["RepoTags"] == ["saved:1"]),
    image("saved:1", "DELETE", "", 200, check=lambda it: it[0] == {"Untagged": "saved:1"}),
    Step("GET", "/system/df", 200, check=lambda it: len(it["Containers"]) == 1),
    Step("GET", "/system/df", 400, query={"type": "moon"}, message="unknown object type: moon"),
    on("www", "DELETE", "", 204, query={"v": True}),
    on("www", "DELETE", "", 404, message="No such container: www"),
    create("gone", 201),
    Step(
        "POST",
        "/containers/prune",
        200,
        query={"filters": {"label": ["nothing"]}},
        check=lambda it: not it["ContainersDeleted"],
    ),
    Step("POST", "/containers/prune", 200, check=lambda it: len(it["ContainersDeleted"]) == 1),
    Step("POST", "/containers/prune", 400, query={"filters": {"colour": ["red"]}}, message="invalid filter"),
]
WITHOUT_CONTAINER = [
    on("nope", method, rest, 404, message=NO_CONTAINER, **more)
    for method, rest, more in (
        ("GET", "/json", {}),
        ("GET", "/top", {}),
        ("GET", "/changes", {}),
        ("GET", "/export", {}),
        ("GET", "/archive", {"query": {"path": "/"}}),
        ("PUT", "/archive", {"query": {"path": "/"}}),
        ("GET", "/stats", {}),
        ("GET", "/explain", {}),
        ("GET", "/logs", {"query": {"stdout": True}}),
        ("POST", "/start", {}),
        ("POST", "/stop", {}),
        ("POST", "/restart", {}),
        ("POST", "/kill", {}),
        ("POST", "/pause", {}),
        ("POST", "/unpause", {}),
        ("POST", "/rename", {"query": {"name": "x"}}),
        ("POST", "/update", {"body": {}}),
        ("POST", "/wait", {}),
        ("POST", "/resize", {"query": {"h": 1, "w": 1}}),
        ("POST", "/exec", {"body": {"Cmd": ["true"]}}),
        ("POST", "/attach", {}),
        ("DELETE", "", {}),
    )
] + [  # what can be refused without it is refused first, as in Docker
    on("nope", "POST", "/kill", 400, query={"signal": "SIGNOTHING"}, message="invalid signal"),
    on("nope", "POST", "/attach", 400, query={"detachKeys": "nonsense-keys"}, message="Invalid detach keys"),
]
EXEC = [
    Step("GET", "/exec/{id}/json", 404, {"id": "nope"}, message="No such exec instance: nope"),
    Step("POST", "/exec/{id}/start", 404, {"id": "nope"}, body={}, message="No such exec instance: nope"),
    Step(
        "POST", "/exec/{id}/resize", 404, {"id": "nope"}, query={"h": 1, "w": 1}, message="No such exec instance: nope"
    ),
]
IMAGE_STEPS = [
    Step("GET", "/images/json", 200, check=lambda it: it[0]["RepoTags"] == ["image:latest"]),
    Step("GET", "/images/json", 400, query={"filters": {"colour": ["red"]}}, message="invalid filter"),
    Step(
        "POST",
        "/images/create",
        200,
        query={"fromSrc": "-", "repo": "other", "tag": "1"},
        body=small_archive("file"),
        check=lambda it: it["status"].startswith("sha256:"),
    ),
    Step(
        "POST",
        "/images/create",
        400,
        query={"fromSrc": "-", "repo": "UPPER"},
        body=b"",
        message="invalid reference format",
    ),
    image("other:1", "POST", "/tag", 201, query={"repo": "third", "tag": "2"}),
    image("nope", "POST", "/tag", 404, query={"repo": "x"}, message="No such image: nope"),
    image("third:2", "GET", "/history", 200, check=lambda it: len(it) == 1),
    image("third:2", "GET", "/get", 200, check=lambda body: b"manifest.json" in body),
    Step("GET", "/images/get", 200, query={"names": "third:2"}, check=lambda body: b"manifest.json" in body),
    Step("POST", "/images/load", 200, body=b"this is no archive", check=lambda it: it["error"]),
    image("nope", "GET", "/json", 404, message="No such image: nope"),
    image("nope", "GET", "/history", 404, message="No such image: nope"),
    image("nope", "DELETE", "", 404, message="No such image: nope"),
    image("third:2", "GET", "/attestations", 501, message="does not support attestations"),
    Step("GET", "/wherry/images/{name:path}/layers", 200, {"name": "third:2"}, check=lambda it: len(it) == 1),
    Step("GET", "/wherry/images/{name:path}/diff", 200, {"name": "third:2"}, query={"to": "image"}),
    Step("GET", "/wherry/layers", 200),
    Step("GET", "/wherry/accounts", 200, check=lambda it: it["Orphans"] == []),
    Step("POST", "/wherry/fsck", 200),
    image("third:2", "DELETE", "", 200),
    Step("POST", "/images/prune", 200, query={"filters": {"label": ["nothing"]}}),
    image("other:1", "DELETE", "", 200, check=lambda it: {"Untagged": "other:1"} in it),
    Step("GET", "/images/search", 400, query={"term": ""}),
    image("!", "POST", "/push", 400, message="invalid reference format"),
    Step("GET", "/distribution/{name:path}/json", 400, {"name": "UPPER"}, message="invalid reference format"),
    Step("GET", "/distribution/{name:path}/manifest", 400, {"name": "UPPER"}, message="invalid reference format"),
    Step(
        "POST",
        "/distribution/{name:path}/manifest",
        400,
        {"name": "list"},
        message="busybox has no digest",
        body={"Manifests": [{"Reference": "busybox", "Platform": {"architecture": "amd64", "os": "linux"}}]},
    ),
]
NETWORKS = [
    Step("GET", "/networks", 200, check=lambda it: {one["Name"] for one in it} >= {"bridge", "host", "none"}),
    Step("GET", "/networks/", 200),
    Step("POST", "/networks/create", 201, body={"Name": "front", "Labels": {"a": "b"}}, check=lambda it: it["Id"]),
    Step("POST", "/networks/create", 409, body={"Name": "front"}, message="network with name front already exists"),
    Step("POST", "/networks/create", 400, body={"Name": ""}),
    network("front", "GET", "", 200, check=lambda it: it["Labels"] == {"a": "b"}),
    network("nope", "GET", "", 404, message="network nope not found"),
    create("web", 201),
    network("front", "POST", "/connect", 200, body={"Container": "web"}),
    network("nope", "POST", "/connect", 404, body={"Container": "web"}, message="network nope not found"),
    network("front", "POST", "/connect", 404, body={"Container": "nope"}, message=NO_CONTAINER),
    on("web", "GET", "/json", 200, check=lambda it: sorted(it["NetworkSettings"]["Networks"]) == ["bridge", "front"]),
    on("web", "POST", "/start", 204),
    network("front", "GET", "", 200, check=lambda it: [one["Name"] for one in it["Containers"].values()] == ["web"]),
    network("front", "DELETE", "", 403, message="has active endpoints"),
    Step("GET", "/wherry/networks/audit", 200),
    Step("GET", "/wherry/networks/trace", 400),
    network("front", "POST", "/disconnect", 200, body={"Container": "web", "Force": True}),
    on("web", "DELETE", "", 204, query={"force": True}),
    network("front", "DELETE", "", 204),
    network("front", "DELETE", "", 404, message="network front not found"),
    network("bridge", "DELETE", "", 403, message="bridge is a pre-defined network and cannot be removed"),
    Step("POST", "/networks/prune", 200),
]
OTHERS = [
    on("web", "GET", "/archive", 400, message="bad parameter: 'path' cannot be empty"),
    on("web", "PUT", "/archive", 400, message="bad parameter: 'path' cannot be empty"),
    Step("GET", "/wherry/volumes/usage", 200),
    Step("GET", "/wherry/volumes/snapshots", 200, check=lambda it: it == []),
    Step("POST", "/wherry/volumes/import", 400, body=b"", message="the new volume needs a name"),
    Step("POST", "/wherry/volumes/pull", 400, query={"reference": "x/y"}, message="the new volume needs a name"),
    Step("POST", "/wherry/volumes/pull", 400, query={"name": "new"}, message="invalid reference format"),
    Step("POST", "/wherry/volumes/{id}/push", 404, {"id": "nope"}, message="get nope: no such volume"),
    Step("DELETE", "/wherry/volumes/snapshots/{id}", 400, {"id": "nope"}, message="'nope' is a volume, not a snapshot"),
    Step("POST", "/wherry/volumes/{id}/restore", 400, {"id": "nope"}, message="'nope' is a volume, not a snapshot"),
    Step("POST", "/wherry/volumes/{id}/snapshot", 404, {"id": "nope"}, body={}, message="get nope: no such volume"),
    Step("POST", "/wherry/volumes/{id}/clone", 404, {"id": "nope"}, body={}, message="get nope: no such volume"),
    Step("GET", "/wherry/volumes/{id}/archive", 404, {"id": "nope"}, message="get nope: no such volume"),
    Step(
        "POST", "/volumes/create", 201, body={"Name": "v1", "Labels": {"a": "b"}}, check=lambda it: it["Name"] == "v1"
    ),
    Step(
        "POST", "/volumes/create", 400, body={"Name": "a/b"}, message="includes invalid characters for a local volume"
    ),
    Step("POST", "/volumes/create", 400, body={"Name": "v2", "DriverOpts": {"x": ""}}, message='invalid option: "x"'),
    Step("POST", "/volumes/create", 404, body={"Name": "v2", "Driver": "nope"}, message='plugin "nope" not found'),
    Step("GET", "/volumes", 200, check=lambda it: [one["Name"] for one in it["Volumes"]] == ["v1"]),
    Step("GET", "/volumes/{id}", 200, {"id": "v1"}, check=lambda it: it["Labels"] == {"a": "b"}),
    Step("GET", "/volumes/{id}", 404, {"id": "nope"}, message="get nope: no such volume"),
    Step("PUT", "/volumes/{id}", 503, {"id": "v1"}, message="swarm is unavailable"),
    Step("DELETE", "/volumes/{id}", 404, {"id": "nope"}, message="get nope: no such volume"),
    Step("DELETE", "/volumes/{id}", 204, {"id": "nope"}, query={"force": "1"}),
    Step("DELETE", "/volumes/{id}", 204, {"id": "v1"}),
    Step("POST", "/volumes/prune", 200, check=lambda it: it["VolumesDeleted"] == []),
    Step("POST", "/build/prune", 200),
    Step("POST", "/build", 400),
    Step("POST", "/build/cancel", 400),
    Step("POST", "/wherry/build/calls/{token}", 404, {"token": "guessed"}, message="no build asks for this"),
    Step("GET", "/wherry/builds", 200),
    Step("GET", "/wherry/builds/{id:path}/json", 404, {"id": "nothing"}, message="no such build: nothing"),
    Step("GET", "/wherry/builds/{id:path}/logs", 404, {"id": "^99"}),
    Step("GET", "/swarm", 503, message="This node is not a swarm manager"),
    Step("POST", "/swarm/leave", 503, message="This node is not part of a swarm"),
]
STEPS = [*SYSTEM, *BEFORE, *RUNNING, *ENDED, *WITHOUT_CONTAINER, *EXEC, *IMAGE_STEPS, *NETWORKS, *OTHERS]
