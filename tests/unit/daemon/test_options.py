"""``wherryd`` takes options from flags and from a file, and refuses what does not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from wherry.daemon import options
from wherry.engine.settings import Settings, Ulimit
from wherry.errors import InvalidInput


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "daemon.json"


def parse(config: Path, *flags: str, **members: object) -> options.Options:
    config.write_text(json.dumps({name.replace("_", "-"): value for name, value in members.items()}))
    return options.parse(["--config-file", str(config), *flags])


def test_without_a_word_everything_has_its_default(config: Path) -> None:
    parsed = parse(config)
    assert parsed.settings == Settings()
    assert parsed.hosts == ("unix:///run/wherry/wherry.sock",)
    assert parsed.pid_file == Path("/run/wherry/wherryd.pid")
    assert parsed.log_level == "info"
    assert not parsed.daemonize


def test_the_socket_and_the_pid_file_follow_the_exec_root(config: Path) -> None:
    parsed = parse(config, "--exec-root", "/run/other")
    assert parsed.hosts == ("unix:///run/other/wherry.sock",)
    assert parsed.pid_file == Path("/run/other/wherryd.pid")


def test_a_flag_and_the_file_say_the_same_thing_in_the_same_way(config: Path) -> None:
    flags = parse(
        config,
        *(
            "-H",
            "unix:///a.sock",
            "--host=fd://",
            "--data-root",
            "/d",
            "-D",
            "--label",
            "a=b",
            "--log-opt",
            "max-size=1m",
        ),
        *("--default-ulimit", "nofile=10:20", "--default-shm-size", "1g", "--init", "--shutdown-timeout", "3"),
    )
    file = parse(
        config,
        hosts=["unix:///a.sock", "fd://"],
        data_root="/d",
        debug=True,
        labels=["a=b"],
        log_opts={"max-size": "1m"},
        default_ulimits={"nofile": {"Name": "nofile", "Soft": 10, "Hard": 20}},
        default_shm_size="1g",
        init=True,
        shutdown_timeout=3,
    )
    assert flags == file
    assert flags.settings.ulimits == (Ulimit("nofile", 10, 20),)
    assert flags.settings.shm_size == 1 << 30
    assert flags.log_level == "debug"


def test_what_stands_on_the_command_line_and_in_the_file_is_refused(config: Path) -> None:
    with pytest.raises(InvalidInput, match=r"both as a flag and in the configuration file: debug: \(from flag: True"):
        parse(config, "-D", debug=False)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"colour": "red"}, "don't match any configuration option: colour"),
        ({"debug": "yes"}, '"yes" for "debug"'),
        ({"hosts": "unix:///a"}, 'for "hosts"'),
        ({"log_opts": {"a": 1}}, 'for "log-opts"'),
        ({"default_ulimits": {"nofile": {"Soft": 1}}}, 'for "default-ulimits"'),
        ({"log_level": "loud"}, 'invalid log level "loud"'),
    ],
)
def test_a_wrong_member_of_the_file_is_named(config: Path, members: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(config, **members)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_file_that_is_no_json_object_is_refused(config: Path, text: str) -> None:
    config.write_text(text)
    with pytest.raises(InvalidInput, match="configuration file"):
        options.parse(["--config-file", str(config)])


def test_a_file_that_was_named_has_to_exist(config: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        options.parse(["--config-file", str(config)])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--dat", "/x"], "unrecognized arguments"),
        (["--label", "nothing"], 'invalid label "nothing"'),
        (["--default-ulimit", "nofile"], 'invalid ulimit "nofile"'),
        (["--default-ulimit", "nofile=20:10"], "soft limit must be less than or equal"),
        (["--default-shm-size", "much"], "invalid size: 'much'"),
        (["--shutdown-timeout", "soon"], "invalid int value: 'soon'"),
        (["-l", "loud"], 'invalid log level "loud"'),
        (["--tlsverify"], "TLS needs --tlscacert, --tlscert, --tlskey"),
        (["--debug=maybe"], 'invalid boolean value "maybe"'),
    ],
)
def test_a_wrong_flag_is_named(config: Path, flags: list[str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(config, *flags)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("64m", 64 << 20), ("1.5k", 1536), ("2GB", 2 << 30), ("1GiB", 1 << 30), ("7b", 7)]
)
def test_sizes_have_units_of_1024(text: str, expected: int) -> None:
    assert options.size(text) == expected


def test_a_reload_takes_labels_and_the_log_level_and_nothing_else(config: Path) -> None:
    parsed = parse(config, labels=["a=1"], shutdown_timeout=5)
    config.write_text(json.dumps({"labels": ["a=2"], "log-level": "error", "shutdown-timeout": 9}))
    again = options.reread(parsed)
    assert again.settings.labels == ("a=2",)
    assert again.log_level == "error"
    assert again.settings.shutdown_timeout == 5


def test_registries_are_told_of_as_dockerd_is(config: Path) -> None:
    parsed = parse(
        config, "--insecure-registry", "10.0.0.0/8", "--max-concurrent-downloads", "9",
        **{"registry-mirrors": ["https://mirror.example.com/"], "max-download-attempts": 2},
    )  # fmt: skip
    registries = parsed.settings.registries
    assert registries.insecure == ("10.0.0.0/8",)
    assert registries.mirrors == ("https://mirror.example.com",)
    assert (registries.max_downloads, registries.max_uploads, registries.max_attempts) == (9, 5, 2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--insecure-registry", "http://x"), "should not contain '://'"),
        (("--registry-mirror", "mirror.example.com"), "is not a valid URI"),
        (("--registry-mirror", "https://u:p@mirror.example.com"), "is not a valid URI"),
        (("--max-concurrent-uploads", "0"), "it must be at least 1"),
    ],
)
def test_what_makes_no_sense_for_a_registry_is_refused(config: Path, flags: tuple[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(config, *flags)


@pytest.mark.parametrize(
    ("option", "words"), [("colour=red", "unknown log opt 'colour'"), ("mode=slow", "not supported: slow")]
)
def test_options_of_logs_that_no_container_could_have_are_refused(config: Path, option: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(config, "--log-opt", option)


def test_a_log_driver_that_there_is_not_is_refused_and_an_empty_name_is_none_given(config: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^logger: no log driver named 'splunk' is registered$"):
        parse(config, "--log-driver", "splunk")
    assert parse(config, "--log-driver", "").settings.log_driver == "json-file"
    assert parse(config, "--log-driver", "none", "--log-opt", "mode=non-blocking").settings.log_driver == "none"


def test_clients_can_be_told_not_to_use_buildkit(config: Path) -> None:
    assert parse(config).settings.buildkit
    assert not parse(config, features={"buildkit": False}).settings.buildkit
    assert parse(config, features={"containerd-snapshotter": True}).settings.buildkit
    with pytest.raises(InvalidInput, match="buildkit"):
        parse(config, features={"buildkit": "no"})


def test_the_builder_is_configured_in_the_file_alone(config: Path) -> None:
    given = {"gc": {"enabled": True, "defaultKeepStorage": "20GB"}, "entitlements": {"security-insecure": True}}
    assert parse(config, builder=given).settings.builder == given
    assert parse(config).settings.builder == {}
    with pytest.raises(InvalidInput, match=r'"builder.gc" has no setting "limit"'):
        parse(config, builder={"gc": {"limit": "1GB"}})
    with pytest.raises(InvalidInput, match="must be a object"):
        parse(config, builder=[])
    with pytest.raises(InvalidInput, match="unrecognized arguments"):
        parse(config, "--builder", "{}")


def test_the_settings_that_the_documents_show_are_taken(config: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    examples = [json.loads(one) for one in re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    assert any("builder" in one for one in examples)
    for example in examples:
        config.write_text(json.dumps(example))
        options.parse(["--config-file", str(config)])
    settings = set(re.findall(r"^\| `(?:gc\.)?([a-zA-Z.]+)`", text, re.MULTILINE))
    assert {"enabled", "policy", "entitlements", "history.maxEntries", "parallel"} <= settings
