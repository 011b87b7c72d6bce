"""A link on the default bridge is a name of the container that it leads to; the same answers from dockerd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.busybox import import_busybox
from support.daemons import Daemon, DockerDaemon
from support.needs import need

pytestmark = need("root", "busybox")


class Linked:
    """Containers ``store`` and ``web``, which links to it as ``db`` and ``cache``."""

    def __init__(self, daemon: Daemon | DockerDaemon, image: str) -> None:
        self.daemon = daemon
        self.image = image
        self.made: list[str] = []
        self.store = self.create("store")
        self.web = self.create("web", "store:db", "store:cache")

    def create(self, name: str, *links: str) -> str:
        body = {"Image": self.image, "Cmd": ["sleep", "600"], "HostConfig": {"Links": list(links)}}
        answer = self.daemon.request("POST", "/containers/create", body, name=name)
        assert answer.status == 201, answer.body
        self.made.append(answer.json["Id"])
        return str(answer.json["Id"])

    def who_is(self, ref: str) -> Any:
        answer = self.daemon.request("GET", f"/containers/{ref}/json")
        return answer.json["Id"] if answer.status == 200 else answer.json["message"]

    def names(self, **filters: list[str]) -> dict[str, list[str]]:
        found = self.daemon.request("GET", "/containers/json", all=1, filters=json.dumps(filters)).json
        return {one["Id"]: one["Names"] for one in found}

    def links(self, ref: str) -> list[str]:
        return sorted(self.daemon.request("GET", f"/containers/{ref}/json").json["HostConfig"]["Links"] or ())

    def unlink(self, ref: str) -> tuple[int, Any]:
        answer = self.daemon.request("DELETE", f"/containers/{ref}", link=1)
        return answer.status, answer.json["message"] if answer.body else None


@pytest.fixture(params=["wherry", "dockerd"])
def linked(request: pytest.FixtureRequest) -> Iterator[Linked]:
    daemon = request.getfixturevalue("daemon" if request.param == "wherry" else "dockerd")
    linked = Linked(daemon, import_busybox(daemon, request.getfixturevalue("busybox_archive")))
    yield linked
    for container in linked.made:
        daemon.request("DELETE", f"/containers/{container}", force=True)


def test_a_container_is_found_by_the_name_that_a_link_gives_it(linked: Linked) -> None:
    assert linked.who_is("web/db") == linked.who_is("web%2Fcache") == linked.store
    assert linked.who_is("web/nobody") == "No such container: web/nobody"
    assert linked.who_is("nobody/db") == "No such container: nobody/db"
    answer = linked.daemon.request("POST", "/containers/web/db/rename", name="stock")
    assert answer.status == 204, answer.body
    assert linked.who_is("stock") == linked.store
    assert linked.links("web") == ["/stock:/web/cache", "/stock:/web/db"]


def test_the_list_has_the_names_of_links_and_filters_by_a_containers_own(linked: Linked) -> None:
    assert linked.names() == {linked.store: ["/store", "/web/cache", "/web/db"], linked.web: ["/web"]}
    assert linked.names(name=["^/web/db$"]) == linked.names(name=["cache"]) == {}
    assert list(linked.names(name=["web"])) == [linked.web]


def test_the_names_of_links_follow_those_of_who_has_them(linked: Linked) -> None:
    assert linked.daemon.request("POST", "/containers/web/rename", name="front").status == 204
    assert linked.who_is("front/db") == linked.store
    assert linked.who_is("web/db") == "No such container: web/db"
    assert linked.names()[linked.store] == ["/front/cache", "/front/db", "/store"]
    assert linked.daemon.request("DELETE", "/containers/front").status == 204
    assert linked.names() == {linked.store: ["/store"]}


def test_a_link_is_removed_and_the_containers_stay(linked: Linked) -> None:
    assert linked.unlink("web/db") == (204, None)
    assert linked.links("web") == ["/store:/web/cache"]
    assert linked.names() == {linked.store: ["/store", "/web/cache"], linked.web: ["/web"]}
    assert linked.unlink("web/db") == (404, "No such container: web/db")
    assert linked.unlink("nobody/db") == (404, "No such container: nobody/db")
    own_name = "Conflict, cannot remove the default link name of the container"
    assert linked.unlink("web") == linked.unlink(linked.store) == (500, own_name)


def test_of_two_links_with_one_alias_the_first_holds(linked: Linked) -> None:
    linked.create("other")
    linked.create("third", "store:one", "other:one", "store:one")
    assert linked.links("third") == ["/store:/third/one"]
    assert linked.who_is("third/one") == linked.store


def test_who_goes_is_nobodys_link_any_more(linked: Linked) -> None:
    assert linked.daemon.request("DELETE", "/containers/web/db").status == 204, "it is a name like any other"
    assert linked.names() == {linked.web: ["/web"]}
    assert linked.unlink("web/db") == (404, "No such container: web/db")


def test_a_removed_link_is_gone_from_a_running_container_for_good(own_daemon: Daemon, busybox_archive: bytes) -> None:
    linked = Linked(own_daemon, import_busybox(own_daemon, busybox_archive))
    for name in ("store", "web"):
        assert own_daemon.request("POST", f"/containers/{name}/start").status == 204
    hosts = ("exec", "web", "cat", "/etc/hosts")
    assert "db" in own_daemon.docker(*hosts).stdout.split()
    done = own_daemon.docker("rm", "--link", "web/db")
    assert done.returncode == 0, done.stderr
    words = own_daemon.docker(*hosts).stdout.split()
    assert "cache" in words
    assert "db" not in words
    own_daemon.restart()
    assert linked.names()[linked.store] == ["/store", "/web/cache"]
    assert own_daemon.docker("ps", "--no-trunc", "--format", "{{.Names}}").stdout.split() == ["web", "store,web/cache"]
    assert own_daemon.docker("ps", "--format", "{{.Names}}").stdout.split() == ["web", "store"]
