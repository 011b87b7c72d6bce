"""Where an image or a caller expects a volume there is one, with what the image has there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "docker", "overlay", "namespaces")]


@pytest.fixture(autouse=True)
def _fresh(clean: None, busybox: str) -> None:
    pass


@pytest.fixture(scope="module")
def image(daemon: Daemon, busybox: str) -> str:
    """An image with volumes: one with content, one that is missing, one that is the kernel's."""
    fill = "mkdir -p /srv/full; echo kept > /srv/full/file; chown -R guest /srv/full; chmod 2750 /srv/full"
    daemon.docker("run", "--name", "source", "busybox", "sh", "-c", fill, check=True)
    changes = ("VOLUME /srv/full", "VOLUME /srv/missing/deep", "VOLUME /sys/fs/cgroup", "VOLUME /", "VOLUME relative")
    words = [word for change in changes for word in ("--change", change)]
    daemon.docker("commit", *words, "source", "with-volumes", check=True)
    daemon.docker("rm", "source", check=True)
    return "with-volumes"


@pytest.mark.parametrize("access", [(), ("--read-only",)])
def test_a_volume_of_the_images_is_there_with_its_content(daemon: Daemon, image: str, access: tuple[str, ...]) -> None:
    script = (
        "cat /srv/full/file; stat -c '%U %a' /srv/full; stat -c '%U %a' /srv/missing/deep /relative;"
        " for d in /srv/full /srv/missing/deep /relative; do touch $d/new && echo wrote; done;"
        " touch /new 2>/dev/null && echo root; ls /sys/fs/cgroup | wc -l"
    )
    shown = daemon.docker("run", "--rm", *access, image, "sh", "-c", script, check=True).stdout.splitlines()
    *lines, groups = shown
    places = ["kept", "guest 2750", "root 755", "root 755", "wrote", "wrote", "wrote"]
    assert lines == (places if access else [*places, "root"])
    assert int(groups) > 0


@pytest.mark.parametrize("access", [(), ("--read-only",)])
def test_a_volume_that_is_asked_for_is_there(daemon: Daemon, access: tuple[str, ...]) -> None:
    words = ("run", "--rm", *access, "-v", "/data/deep", "-v", "/srv", "busybox", "sh", "-c")
    shown = daemon.docker(*words, "touch /data/deep/x && ls /data/deep; stat -c %a /srv; touch /srv/y")
    assert (shown.stdout, shown.returncode) == ("x\n755\n", 0), shown.stderr


@pytest.mark.parametrize("wish", [{"Binds": ["/given"]}, {"Mounts": [{"Type": "volume", "Target": "/given"}]}])
def test_what_is_to_be_mounted_without_a_source_is_a_volume(daemon: Daemon, wish: dict[str, Any]) -> None:
    """Compose sends a service's anonymous volumes as mounts."""
    body = {"Image": "busybox", "Cmd": ["touch", "/given/file"], "HostConfig": wish}
    made = daemon.request("POST", "/containers/create", body)
    assert made.status == 201, made.body
    assert made.json["Warnings"] == []
    path = f"/containers/{made.json['Id']}"
    assert daemon.request("POST", f"{path}/start").status == 204
    assert daemon.request("POST", f"{path}/wait").json["StatusCode"] == 0
    (shown,) = daemon.request("GET", f"{path}/json").json["Mounts"]
    assert (shown["Type"], shown["Driver"], shown["Destination"], shown["RW"]) == ("volume", "local", "/given", True)
    assert daemon.request("GET", f"/volumes/{shown['Name']}").json["Mountpoint"] == shown["Source"]


def test_what_is_written_there_stays_for_the_next_start(daemon: Daemon) -> None:
    script = "cat /data/x 2>/dev/null; echo again >> /data/x"
    daemon.docker("run", "--name", "twice", "--read-only", "-v", "/data", "busybox", "sh", "-c", script, check=True)
    assert daemon.docker("start", "-a", "twice", check=True).stdout == "again\n"


def test_a_mount_inside_a_volume_is_on_top_of_it(daemon: Daemon) -> None:
    words = ("--tmpfs", "/data/a/b", "-v", "/data", "-v", "/data/a")
    shown = daemon.docker("run", "--rm", *words, "busybox", "sh", "-c", "grep -o ' /data[^ ]* [a-z]*' /proc/mounts")
    places = shown.stdout.split()
    assert places[::2] == ["/data", "/data/a", "/data/a/b"]
    assert (places[5], "overlay" in places) == ("tmpfs", False)


def test_a_volume_over_a_file_is_refused(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "-v", "/etc/passwd", "busybox", "true")
    assert "cannot mount volume over existing file, file exists /etc/passwd" in done.stderr


def test_a_volume_through_a_link_stays_inside(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "linker", "busybox", "ln", "-s", "/../../../../tmp/../outside", "/link", check=True)
    daemon.docker("commit", "linker", "linked", check=True)
    script = "touch /link/x; ls /outside"
    assert daemon.docker("run", "--rm", "-v", "/link", "linked", "sh", "-c", script, check=True).stdout == "x\n"


# --- sysctls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_anybody_may_listen_on_any_port_and_ask_for_echoes(daemon: Daemon, network: str) -> None:
    script = (
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range; nc -l -p 80 &"
        " until grep -q ':0050 ' /proc/net/tcp /proc/net/tcp6; do kill -0 $! || exit 1; done; echo listened"
    )
    words = ("--network", network, "-u", "1000", "--cap-drop", "ALL", "busybox", "sh", "-c", script)
    shown = daemon.docker("run", "--rm", *words, check=True).stdout
    assert shown.split() == ["0", "0", "2147483647", "listened"]


def test_the_callers_word_about_ports_counts(daemon: Daemon) -> None:
    words = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=1024", "busybox")
    shown = daemon.docker("run", "--rm", *words, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", check=True)
    assert shown.stdout == "1024\n"


def test_the_hosts_network_and_anothers_are_left_as_they_are(daemon: Daemon) -> None:
    show = ("busybox", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        hosts = file.read()
    assert daemon.docker("run", "--rm", "--network", "host", *show, check=True).stdout == hosts
    own = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=77")
    daemon.docker("run", "-d", "--name", "owner", *own, "busybox", "sleep", "600", check=True)
    assert daemon.docker("run", "--rm", "--network", "container:owner", *show, check=True).stdout == "77\n"
    (told,) = json.loads(daemon.docker("inspect", "owner").stdout)
    assert told["HostConfig"]["Sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "77"}


def test_a_part_of_a_volume_and_what_is_mounted_get_the_images_files(
    daemon: Daemon, image: str, tmp_path: Path
) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    directories = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    options = ("type=overlay", "device=overlay", f"o={directories}")
    daemon.docker("volume", "create", *(word for one in options for word in ("--opt", one)), "over", check=True)
    daemon.docker("run", "--rm", "-v", "parts:/v", "busybox", "mkdir", "/v/one", check=True)
    show = (image, "sh", "-c", "cat /srv/full/file; stat -c '%U %a' /srv/full; ls -A /srv/full")
    for mount in ("type=volume,src=parts,dst=/srv/full,volume-subpath=one", "type=volume,src=over,dst=/srv/full"):
        shown = daemon.docker("run", "--rm", "--mount", mount, *show, check=True).stdout
        assert shown == "kept\nguest 2750\nfile\n"
    assert (tmp_path / "upper/file").read_text() == "kept\n"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
