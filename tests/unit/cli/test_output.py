"""Tables, rows, explanations: what people read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.cli.output.container_row import container_row, ports_text
from wherry.cli.output.explain import explain_text
from wherry.cli.output.image_platforms import platform_tree
from wherry.cli.output.image_row import image_rows
from wherry.cli.output.stats_row import stats_row
from wherry.cli.output.table import align, render
from wherry.docker.gotemplate import TemplateError
from wherry.docker.reference import familiar, full_name, repository_and_tag, split

HEADERS = {"ID": "IMAGE ID", "Name": "NAME", "Size": "SIZE"}
ROWS: list[dict[str, Any]] = [
    {"ID": "abc", "Name": "a-rather-long-name", "Size": "1MB", "Label": lambda name: f"L{name}"},
    {"ID": "def", "Name": "", "Size": "20MB", "Label": lambda name: ""},
]


def test_columns_are_at_least_ten_wide_with_three_spaces_between() -> None:
    assert align([("A", "B", "C"), ("1", "a-rather-long-name", "x")]) == (
        "A         B                    C\n1         a-rather-long-name   x\n"
    )


def test_rows_are_printed_in_every_form() -> None:
    assert render(ROWS, ("ID", "Size"), HEADERS, "") == "IMAGE ID   SIZE\nabc        1MB\ndef        20MB\n"
    assert render(ROWS, ("ID",), HEADERS, "{{.ID}}:{{upper .Size}}") == "abc:1MB\ndef:20MB\n"
    assert (
        render(ROWS, ("ID",), HEADERS, r'table {{.ID}}\t{{.Label "x"}}') == "IMAGE ID   x\nabc        Lx\ndef        \n"
    )
    lines = render(ROWS, ("ID",), HEADERS, "json").splitlines()
    assert [json.loads(line)["ID"] for line in lines] == ["abc", "def"]
    assert lines == render(ROWS, ("ID",), HEADERS, "{{json .}}").splitlines()


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(TemplateError, match="failed to execute template"):
        render(ROWS, ("ID",), HEADERS, "{{.Nope}}")
    with pytest.raises(TemplateError, match="failed to parse template"):
        render(ROWS, ("ID",), HEADERS, "{{.Nope")


def test_a_container_s_row_is_docker_s() -> None:
    summary = {
        "Id": "0123456789abcdef" * 4, "Names": ["/web", "/other/alias"], "Image": "busybox@sha256:00",
        "ImageID": "sha256:1", "Command": 'sh -c "a long command line"', "Created": 0, "Ports": [],
        "Labels": {"b": "2", "a": "1"}, "State": "running", "Status": "Up",
        "SizeRw": 1000, "SizeRootFs": 2_000_000, "NetworkSettings": {"Networks": {"none": {}}},
        "Mounts": [{"Type": "bind", "Source": "/a/rather/long/path"}],
    }  # fmt: skip
    row = container_row(summary, short=True)
    assert row["ID"] == "0123456789ab"
    assert (row["Names"], row["Image"]) == ("web", "busybox")
    assert row["Command"] == r'"sh -c \"a long comma…"'
    assert row["Labels"] == "a=1,b=2"
    assert (row["Size"], row["Mounts"], row["Networks"]) == ("1kB (virtual 2MB)", "/a/rather/long…", "none")
    assert row["Label"]("a") == "1"
    assert container_row(summary, short=False)["Names"] == "web,other/alias"


def port(private: int, public: int = 0, address: str = "", kind: str = "tcp") -> dict[str, Any]:
    return {"PrivatePort": private, "PublicPort": public, "IP": address, "Type": kind}


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(80), port(81), port(82), port(90, kind="udp")], "80-82/tcp, 90/udp"),
        ([port(9000, 9000, "0.0.0.0"), port(9001, 9001, "0.0.0.0")], "0.0.0.0:9000-9001->9000-9001/tcp"),
    ],
)
def test_ports_read_as_docker_shows_them(ports: list[dict[str, Any]], text: str) -> None:
    assert ports_text(ports) == text


def test_an_image_has_a_row_for_each_of_its_names() -> None:
    image = {"Id": "sha256:" + "a" * 64, "Created": 1, "Size": 4_430_000, "RepoTags": ["b:1", "localhost:5000/x/b:2"],
             "RepoDigests": ["b@sha256:dd"]}  # fmt: skip
    rows = list(image_rows(image, short=True, digests=False))
    assert [(row["Repository"], row["Tag"], row["ID"], row["Size"]) for row in rows] == [
        ("b", "1", "a" * 12, "4.43MB"),
        ("localhost:5000/x/b", "2", "a" * 12, "4.43MB"),
    ]
    shared = {**image, "Size": 10_794_321, "SharedSize": 7_793_111}
    row = next(image_rows(shared, short=True, digests=False))
    assert (row["Size"], row["SharedSize"], row["UniqueSize"]) == ("10.8MB", "7.793MB", "3.001MB")  # Docker's digits
    assert [row["Digest"] for row in image_rows(image, short=True, digests=True)] == ["sha256:dd", "<none>"]
    nameless = {**image, "RepoTags": None, "RepoDigests": None}
    assert [row["Repository"] for row in image_rows(nameless, short=True, digests=False)] == ["<none>"]


def test_a_tree_shows_platforms_below_their_image() -> None:
    manifest = {"ID": "sha256:bb", "Kind": "image", "Available": False, "Size": {"Total": 3, "Content": 2},
                "ImageData": {"Platform": {"os": "linux", "architecture": "arm64"}, "Containers": []}}  # fmt: skip
    image = {"Id": "sha256:aa", "RepoTags": ["x:1", "x:2"], "Size": 5, "Manifests": [manifest]}
    assert [line.split("  ")[0] for line in platform_tree([image]).splitlines()[1:]] == [
        "x:1",
        "x:2",
        "└─ linux/arm64 (not here)",
    ]
    assert platform_tree([image]).splitlines()[-1].split()[-3:] == ["bb", "3B", "2B"]


@pytest.mark.parametrize(
    ("text", "name", "tag", "shown"),
    [
        ("busybox", "docker.io/library/busybox", "latest", "busybox:latest"),
        ("docker.io/a/b:1", "docker.io/a/b", "1", "a/b:1"),
        ("localhost:5000/x", "localhost:5000/x", "latest", "localhost:5000/x:latest"),
        ("quay.io/x@sha256:00", "quay.io/x", "sha256:00", "quay.io/x@sha256:00"),
    ],
)
def test_names_of_images_are_completed(text: str, name: str, tag: str, shown: str) -> None:
    assert full_name(text) == name
    assert repository_and_tag(text) == (name, tag)
    assert familiar(text) == shown


def test_a_port_is_no_tag() -> None:
    assert split("host:5000/a") == ("host:5000/a", "", "")


def test_statistics_count_as_docker_s_do() -> None:
    sample = {
        "id": "a" * 64, "name": "/web", "pids_stats": {"current": 3},
        "memory_stats": {"usage": 3 << 20, "limit": 4 << 20, "stats": {"inactive_file": 1 << 20}},
        "cpu_stats": {"cpu_usage": {"total_usage": 200}, "system_cpu_usage": 2000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5}, {"op": "write", "value": 7}]},
    }  # fmt: skip
    row = stats_row("web", sample, short=True)
    assert row["CPUPerc"] == "20.00%"
    assert (row["MemUsage"], row["MemPerc"]) == ("2MiB / 4MiB", "50.00%")
    assert (row["NetIO"], row["BlockIO"], row["PIDs"], row["Name"]) == ("1kB / 2kB", "5B / 7B", "3", "web")
    assert stats_row("web", {}, short=True)["CPUPerc"] == "0.00%"


EXPLAINED: dict[str, Any] = {
    "Id": "a" * 64, "Name": "/web", "State": "running", "Pid": 42,
    "Namespaces": [{"Kind": "pid", "Inode": 7, "SharedWith": []},
                   {"Kind": "net", "Inode": 8, "SharedWith": ["host", "db"]}],
    "Layers": [{"ChainID": "sha256:cc", "Size": 2_000_000, "SharedWith": ["/db", "/x", "/y", "/z", "/w"]}],
    "Writable": {"Bytes": 1500, "Files": 2,
                 "CopiedUp": [{"Path": "/etc/passwd", "Bytes": 900}, {"Path": "/etc/hosts", "Bytes": 0}]},
    "Mounts": [{"Destination": "/etc/hosts", "Source": "/h", "Options": ["ro"], "Why": "made by the engine"}]
    + [{"Destination": f"/proc/{n}", "Source": "tmpfs", "Options": ["rw"], "Why": "hidden"} for n in range(5)],
    "Limits": [{"Name": "memory", "Limit": 100_000_000, "Used": 1_000_000, "Unit": "bytes"},
               {"Name": "processes", "Limit": -1, "Used": 1},
               {"Name": "killed", "Limit": None, "Used": 0, "Limited": False}],
    "Capabilities": {"Kept": ["CAP_CHOWN"], "Dropped": ["SYS_ADMIN", "CAP_CHOWN"]},
    "Seccomp": {"Mode": "filter", "Profile": "default", "Allowed": 370}, "NoNewPrivileges": True,
    "Exit": None,
}  # fmt: skip


def test_an_explanation_is_for_people() -> None:
    text = explain_text(EXPLAINED)
    assert text.startswith("web (aaaaaaaaaaaa) is running.\n")
    for line in (
        "its own                      pid:[7]",
        "shared with the host, db     net:[8]",
        "shared with db, x, y, z and 1 more",
        "1.5kB  2 files written so far",
        "900B  /etc/passwd",
        "hidden: /proc/0, /proc/1, /proc/2, /proc/3, /proc/4",
        "1MB  at most 100MB",
        "processes 1 no limit killed 0 WHAT ITS ROOT MAY DO",
        "Its root keeps 1 and lost 1.",
        "lost: SYS_ADMIN",
        "lets through 370 of the kernel's system",
        "no new privileges",
    ):
        assert " ".join(line.split()) in " ".join(text.split())
    assert "/etc/hosts" in text
    assert "0B  /etc/hosts" not in text
    assert "HOW IT ENDED" not in text


@pytest.mark.parametrize(
    ("ended", "words"),
    [({"ExitCode": 0}, "was done"), ({"ExitCode": 137, "OOMKilled": True}, "more memory than it may"),
     ({"ExitCode": 143}, "ended by SIGTERM"), ({"ExitCode": 127}, "not found"),
     ({"Explanation": "because"}, "because")],
)  # fmt: skip
def test_an_end_is_explained(ended: dict[str, Any], words: str) -> None:
    text = explain_text({"Id": "a", "Name": "x", "State": "exited", "Exit": ended})
    assert text.startswith("x (a) has ended.\n\nHOW IT ENDED\n")
    assert words in " ".join(text.split())


def test_an_explanation_of_next_to_nothing_is_short() -> None:
    assert explain_text({"Id": "a", "Name": "/x", "State": "created"}) == "x (a) was made and has not run yet.\n"


def test_why_a_container_did_not_start_is_explained() -> None:
    failed = {"Code": 127, "Error": 'exec: "x": executable file not found in $PATH'}
    text = explain_text({"Id": "a", "Name": "x", "State": "created", "Exit": failed})
    assert text.endswith('WHY IT DID NOT START\nexec: "x": executable file not found in $PATH\n')
