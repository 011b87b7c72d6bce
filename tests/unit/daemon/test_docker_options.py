"""Docker's ``daemon.json``: each key of dockerd's is heeded, warned about, or refused: passing it over is unsafe."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.daemon import docker_options, options
from wherry.daemon.logs import JsonFormatter
from wherry.docker.container_requests import HostConfig
from wherry.engine.create.create import resolved_host
from wherry.engine.settings import Settings
from wherry.errors import InvalidInput

# moby: the JSON names in daemon/config/config.go and config_linux.go, the named options of daemon/command/config*.go;
# the last four are 20.10's.
KEYS = """
    allow-direct-routing allow-nondistributable-artifacts api-cors-header authorization-plugins bip bip6
    bridge bridge-accept-fwmark builder cgroup-parent containerd containerd-namespace containerd-plugin-namespace
    cpu-rt-period cpu-rt-runtime cri-containerd data-root debug default-address-pools default-cgroupns-mode
    default-gateway default-gateway-v6 default-init default-ipc-mode default-network-opts default-runtime
    default-shm-size default-ulimits deprecated-key-path dns dns-opts dns-search exec-opts exec-root experimental
    features firewall-backend fixed-cidr fixed-cidr-v6 group host-gateway-ip host-gateway-ips hosts icc init init-path
    insecure-registries ip ip-forward ip-forward-no-drop ip-masq ip6tables iptables ipv6 labels live-restore log-driver
    log-format log-level log-opts max-concurrent-downloads max-concurrent-uploads max-download-attempts metrics-addr mtu
    network-control-plane-mtu network-diagnostic-port no-new-privileges node-generic-resources nri-opts
    oom-score-adjust pidfile proxies raw-logs registry-mirrors resolv-conf rootless runtimes seccomp-profile
    selinux-enabled shutdown-timeout storage-driver storage-opts swarm-default-advertise-addr swarm-raft-election-tick
    swarm-raft-heartbeat-tick tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap
    http-proxy https-proxy no-proxy containerd-plugins-namespace cdi-spec-dirs min-api-version extension-config
    graph cluster-store cluster-store-opts cluster-advertise
""".split()
_MIGRATED = {"host-gateway-ip"}  # it becomes host-gateway-ips


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "daemon.json"


@pytest.fixture(scope="module", autouse=True)
def _parser_made_once() -> Iterator[None]:
    """Making it takes far longer than using it, and a daemon does it once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "_parser", functools.cache(options._parser))
        yield


def parse(config: Path, **members: object) -> options.Options:
    config.write_text(json.dumps({name.replace("_", "-"): value for name, value in members.items()}))
    return options.parse(["--config-file", str(config)])


@pytest.mark.parametrize("key", KEYS)
def test_each_key_has_one_place(key: str) -> None:
    heeded = key in _MIGRATED or any(option.key == key for option in options.OPTIONS)
    assert heeded + (key in docker_options.PASSED_OVER) + (key in docker_options.REFUSED) == 1


def test_no_list_has_a_key_that_dockerd_has_not() -> None:
    assert {*docker_options.PASSED_OVER, *docker_options.REFUSED} <= set(KEYS)


def test_a_file_as_people_have_it_is_taken(config: Path) -> None:
    parsed = parse(
        config, storage_driver="overlay2", live_restore=True, exec_opts=["native.cgroupdriver=cgroupfs"], debug=True,
        userland_proxy=False, iptables=True, experimental=False, runtimes={}, authorization_plugins=[], nri_opts={},
        default_runtime="runc", selinux_enabled=False, userns_remap="", firewall_backend="nftables", raw_logs=True,
        proxies={"http-proxy": "http://a:1", "no-proxy": "b"}, host_gateway_ip="10.0.0.1", log_format="json",
        default_ipc_mode="shareable", default_cgroupns_mode="host", metrics_addr="127.0.0.1:9323",
    )  # fmt: skip
    assert parsed.settings.warnings == ()
    assert parsed.proxies == {"HTTP_PROXY": "http://a:1", "NO_PROXY": "b"}
    assert parsed.settings.networks.host_gateway_ips == ("10.0.0.1",)
    assert (parsed.settings.ipc_mode, parsed.settings.cgroupns_mode) == ("shareable", "host")
    assert (parsed.log_format, parsed.metrics) == ("json", "127.0.0.1:9323")


@pytest.mark.parametrize(
    ("settings", "asked", "expected"),
    [
        (Settings(), HostConfig(), ("private", "private")),
        (Settings(ipc_mode="shareable", cgroupns_mode="host"), HostConfig(), ("shareable", "host")),
        (Settings(ipc_mode="shareable", cgroupns_mode="host"), HostConfig(ipc_mode="none", cgroupns_mode="private"),
         ("none", "private")),
    ],
)  # fmt: skip
def test_containers_get_the_modes_that_they_do_not_choose(
    settings: Settings, asked: HostConfig, expected: tuple[str, str]
) -> None:
    host = resolved_host(asked, settings)
    assert (host.ipc_mode, host.cgroupns_mode) == expected


def test_what_has_no_effect_is_one_list(config: Path) -> None:
    parsed = parse(
        config, storage_driver="btrfs", live_restore=False, iptables=False, nri_opts={"enable": True},
        exec_opts=["native.cgroupdriver=systemd"],
    )  # fmt: skip
    assert [text.partition(" has no effect: ")[0] for text in parsed.settings.warnings] == [
        '"storage-driver": "btrfs"',
        '"live-restore": false',
        '"iptables": false',
        '"nri-opts": {"enable": true}',
        '"exec-opts": ["native.cgroupdriver=systemd"]',
    ]


def test_so_is_what_has_none_within_objects(config: Path) -> None:
    builder = {"proxy-network": True, "history": {"maxAge": 86400, "maxEntries": 5}, "GC": {"Enabled": False}}
    parsed = parse(config, builder=builder, features={"containerd-snapshotter": True, "buildkit": True, "cdi": True})
    assert [text.partition(" has no effect: ")[0] for text in parsed.settings.warnings] == [
        '"builder.proxy-network"',
        '"builder.history.maxAge"',
        '"features": "containerd-snapshotter": true',
    ]
    assert parse(config, features={"containerd-snapshotter": False}).settings.warnings == ()


@pytest.mark.parametrize("key", sorted(docker_options.PASSED_OVER))
@pytest.mark.parametrize("value", [None, 0, 1, "x", [], [1], {}, {"x": 1}, True, False])
def test_no_value_of_what_is_passed_over_stops_the_daemon(config: Path, key: str, value: object) -> None:
    parse(config, **{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("userns-remap", "default"),
        ("authorization-plugins", ["opa"]),
        ("selinux-enabled", True),
        ("rootless", True),
        ("api-cors-header", "*"),
    ],
)
def test_what_would_be_unsafe_to_pass_over_is_refused(config: Path, key: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f'"{key}": .* is refused: '):
        parse(config, **{key: value})
    assert key in docker_options.REFUSED


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"default_ipc_mode": "host"}, 'invalid value "host" for "default-ipc-mode"'),
        ({"default_cgroupns_mode": "x"}, 'invalid value "x" for "default-cgroupns-mode"'),
        ({"log_format": "xml"}, 'invalid value "xml" for "log-format"'),
        ({"metrics_addr": "9323"}, "it must be HOST:PORT"),
        ({"metrics_addr": "127.0.0.1:99999"}, "it must be HOST:PORT"),
        ({"proxies": {"ftp-proxy": "x"}}, 'invalid member "ftp-proxy" of "proxies"'),
        ({"proxies": "x"}, 'for "proxies"'),
        ({"host_gateway_ip": "1.1.1.1", "host_gateway_ips": ["2.2.2.2"]}, "must not both be specified"),
    ],
)
def test_what_dockerd_would_not_take_either_is_named(config: Path, members: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(config, **members)


@pytest.mark.parametrize(("members", "code"), [({"storage-driver": "zfs"}, 0), ({"colour": 1}, 1)])
def test_validate_says_it_and_starts_nothing(config: Path, members: dict[str, object], code: int) -> None:
    config.write_text(json.dumps(members))
    command = [sys.executable, "-m", "wherry.daemon.main", "--validate", "--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    expected = (
        'WARNING: "storage-driver": "zfs" has no effect: wherry\'s is overlayfs\nconfiguration OK\n'
        if code == 0
        else f"wherryd: the following directives don't match any configuration option: colour: in {config}\n"
    )
    assert done.stderr == expected


def test_a_line_of_the_log_may_be_json() -> None:
    record = logging.makeLogRecord({"levelno": 30, "levelname": "WARNING", "msg": "a\nb\u202e", "path": Path("/x")})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "\u202e" not in line
    found = json.loads(line)
    assert (found["level"], found["msg"], found["path"]) == ("warn", "a\nb\u202e", "/x")


def test_devices_by_name_and_sizes_of_layers_are_heeded(config: Path) -> None:
    parsed = parse(config, cdi_spec_dirs=["/opt/cdi"], storage_opts=["overlay2.size=2g", "dm.basesize=1g"])
    assert (parsed.settings.cdi_spec_dirs, parsed.settings.storage_size) == (("/opt/cdi",), 2 << 30)
    assert parse(config, features={"cdi": False}).settings.cdi_spec_dirs == ()
    assert parse(config, cdi_spec_dirs=[""]).settings.cdi_spec_dirs == ()
    assert parse(config).settings.cdi_spec_dirs == ("/etc/cdi", "/var/run/cdi")
    with pytest.raises(InvalidInput, match=r"unknown option overlay2\.depth"):
        parse(config, storage_opts=["overlay2.depth=1"])
