"""Log drivers: how they differ, and that a new one is a line in the table and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from support.engine_harness import EngineHarness, create, harness, raises
from support.log_receivers import subject
from wherry.cli.completion.values import flag_values
from wherry.cli.context import Context
from wherry.daemon.options import OPTIONS
from wherry.docker.container_requests import LogConfig
from wherry.docker.streams import LogOptions
from wherry.engine.log_drivers.config import check_log_options, effective, log_config
from wherry.engine.log_drivers.contract import LogBounds, LogDriver
from wherry.engine.log_drivers.options import COMMON_CHECKS
from wherry.engine.log_drivers.table import LOG_DRIVERS, driver_of, find_log_driver
from wherry.engine.log_drivers.tag import FIELDS, check_tag, tag_of
from wherry.engine.settings import Settings
from wherry.engine.streams.logs import read_logs
from wherry.errors import InvalidInput, Unsupported

__all__ = ["harness"]

SUBJECT_ID = "c0ffee" + "0" * 58
SOURCE = Path(__file__).resolve().parents[3] / "src" / "wherry"


def _colour(text: str) -> None:
    if text != "red":
        raise InvalidInput(f"no such colour: {text}")


TOY: Final = LogDriver(
    name="toy", title="log driver toy", checks={**COMMON_CHECKS, "colour": _colour}, defaults={"colour": "red"},
    bounds=lambda options: LogBounds(4096, 2, blocking=False), retention=lambda options: f"all in {options['colour']}",
    is_readable=lambda options: False,
)  # fmt: skip


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> LogDriver:
    monkeypatch.setitem(LOG_DRIVERS, TOY.name, TOY)
    return TOY


def test_a_new_driver_is_one_line_in_the_table(toy: LogDriver, harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            web = await create(engine, log_config=LogConfig("toy"))
            assert web.host.log_config == LogConfig("toy", {"colour": "red"})
            assert web.log_directory.is_relative_to(harness.settings.data_root)
            log = engine.containers.starter.log_fields(web)
            assert log == {"dir": str(web.log_directory), "max_size": 4096, "max_files": 2, "blocking": False}
            with pytest.raises(Unsupported, match=r"^configured logging driver does not support reading$"):
                await anext(read_logs(web, LogOptions()))
            blue = create(engine, name="other", log_config=LogConfig("toy", {"colour": "blue"}))
            assert (await raises(blue)).message == "no such colour: blue"
            size = create(engine, name="other", log_config=LogConfig("toy", {"max-size": "1m"}))
            assert (await raises(size)).message == "unknown log opt 'max-size' for log driver toy"

    harness.run(test)


def test_the_daemons_options_are_for_the_daemons_driver_and_caches(toy: LogDriver) -> None:
    settings = Settings(log_driver="toy", log_options={"max-size": "1m", "mode": "non-blocking"})
    assert effective(toy, settings) == {"colour": "red", "mode": "non-blocking"}
    assert log_config(LogConfig("toy", {"colour": "red"}), settings).config == {"colour": "red", "mode": "non-blocking"}
    others = Settings(log_options={"mode": "non-blocking", "cache-max-size": "1m", "max-size": "2m"})
    assert effective(toy, others) == {"colour": "red"}
    syslog = log_config(LogConfig("syslog", {"tag": "x"}), others)
    assert syslog.config == {"tag": "x", "cache-max-size": "1m"}


def test_a_container_keeps_the_options_that_the_daemon_had_when_it_was_created(harness: EngineHarness) -> None:
    settings = harness.settings

    async def test() -> None:
        harness.settings = replace(settings, log_options={"max-size": "1m", "mode": "non-blocking"})
        async with harness.engine() as engine:
            await create(engine)
            await create(engine, name="deaf", log_config=LogConfig("none"))
        harness.settings = replace(settings, log_options={"max-size": "7m", "max-file": "3"})
        async with harness.engine() as engine:
            web = engine.containers.store.get("web")
            assert engine.containers.starter.log_fields(web) | {"dir": ""} == {
                "dir": "", "max_size": 1 << 20, "max_files": 5, "blocking": False,
            }  # fmt: skip
            assert (web.host.log_config or LogConfig()).config == {
                "max-size": "1m",
                "max-file": "5",
                "mode": "non-blocking",
            }
            new = await create(engine, name="new")
            assert engine.containers.starter.log_fields(new)["max_size"] == 7 << 20
            assert engine.containers.starter.log_fields(engine.containers.store.get("deaf"))["max_size"] == 1 << 20

    harness.run(test)


def test_a_spool_lies_under_the_exec_root_is_bounded_and_cannot_be_read(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            web = await create(engine, log_config=LogConfig("none", {"max-size": "9g"}))
            assert web.host.log_config == LogConfig("none", {"max-size": "9g"})  # as it was asked for
            assert web.log_directory.is_relative_to(harness.settings.exec_root)
            log = engine.containers.starter.log_fields(web)
            assert (log["max_size"], log["max_files"], log["blocking"]) == (1 << 20, 2, False)
            with pytest.raises(Unsupported, match=r"^configured logging driver does not support reading$"):
                await anext(read_logs(web, LogOptions()))

    harness.run(test)


@pytest.mark.parametrize("name", ["json-file", "local"])
def test_segments_are_bounded_as_the_options_say(name: str) -> None:
    driver = find_log_driver(name)
    assert driver.bounds(effective(driver, Settings())) == LogBounds(20 << 20, 5, blocking=True)
    options = effective(
        driver, Settings(log_driver=name, log_options={"max-file": "2", "mode": "non-blocking"}), {"max-size": "-1"}
    )
    assert driver.bounds(options) == LogBounds(None, 2, blocking=False)
    assert driver.retention(options) == "2 files of -1"
    assert not driver.is_spool
    assert driver.is_readable(options)
    assert not driver.sends(options)


def test_who_names_no_driver_gets_the_daemons() -> None:
    assert log_config(None, Settings(log_driver="none")) == LogConfig("none", {})
    assert log_config(LogConfig(""), Settings(log_driver="local")).type == "local"
    assert log_config(None, Settings()) == LogConfig("json-file", {"max-size": "20m", "max-file": "5"})


def test_an_unknown_driver_is_refused_but_a_container_that_has_one_keeps_its_log() -> None:
    with pytest.raises(InvalidInput, match=r"^logger: no log driver named 'splunk' is registered$"):
        find_log_driver("splunk")
    for config in (None, LogConfig(""), LogConfig("of-a-later-version")):
        driver = driver_of(config)
        assert driver.is_readable({})
        assert not driver.is_spool


@pytest.mark.parametrize("name", LOG_DRIVERS)
def test_an_unknown_option_names_the_driver(name: str) -> None:
    title = {"local": "log driver local"}.get(name, f"{name} log driver")
    quote = '"' if name == "gelf" else "'"
    with pytest.raises(InvalidInput, match=f"^unknown log opt {quote}nope{quote} for {title}$"):
        check_log_options({"nope": "1"}, find_log_driver(name))


def test_a_tag_is_a_template_with_dockers_fields_and_functions_but_no_loop(tmp_path: Path) -> None:
    for text, filled in {
        "/".join(f"{{{{ .{name} }}}}" for name in FIELDS[:3]): f"c0ffee000000/{SUBJECT_ID}/web",
        "/".join(f"{{{{ .{name} }}}}" for name in FIELDS[3:7]): f"{'1' * 12}/sha256:{'1' * 64}/app:1/docker",
        "{{with .ID}}{{upper .}}{{end}}": "C0FFEE000000",
        '{{index .ContainerLabels "tier"}}-{{join .ContainerArgs "_"}}-{{.Command}}': "front--c_x-sh -c x",
        '{{ printf "%.3s" .FullID }}': "c0f",
        '{{ printf "%c" 0xD800 }}': "?",
        "plain": "plain",
    }.items():
        check_tag(text)
        assert tag_of(subject(tmp_path, tag=text)) == filled
    assert tag_of(subject(tmp_path)) == "c0ffee000000"
    bomb = '{{$x := "0123456789"}}' + "{{$x = print $x $x}}" * 60
    chain = "{{if 0}}" + "{{else if 0}}" * 300 + "{{end}}"
    many_digits = f"{{{{0x{'f' * 4000}}}}}"
    for wrong in ("{{.Names}}", "{{.ID", "{{.Name}}{{", "{{nope .ID}}", "{{.ID}}" * 5000, bomb, chain, many_digits):
        with pytest.raises(InvalidInput):
            check_tag(wrong)
    for loop in ("{{range 1000000}}{{range 1000000}}x{{end}}{{end}}", '{{define "a"}}{{end}}'):
        with pytest.raises(Unsupported, match="no loops"):
            check_tag(loop)


def test_who_has_no_such_driver_imports_none_of_them() -> None:
    code = (
        "import sys, wherry.engine.engine, wherry.engine.log_drivers.table as t; t.driver_of(None);"
        "ends = ('_sender', 'json_lines', 'syslog', 'fluentd', 'gelf', 'journald', 'delivery.delivery');"
        "print([name for name in sys.modules if name.endswith(ends)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_help_and_the_completion_name_all_drivers() -> None:
    assert flag_values("container.run", "log-driver", "", Context(None)) == tuple(LOG_DRIVERS)
    options = {name for driver in list(LOG_DRIVERS) for name in find_log_driver(driver).checks}
    offered = flag_values("container.run", "log-opt", "", Context(None))
    assert {text.partition("=")[0] for text in offered} == options
    (described,) = [option.help for option in OPTIONS if "--log-driver" in option.flags]
    assert all(name in described for name in LOG_DRIVERS)


def test_nothing_else_knows_a_driver_by_its_name() -> None:
    literal = re.compile(r"""["']json-file["']""")
    known = {"engine/settings.py", "engine/log_drivers/json_file.py", "cli/completion/values.py"}
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if literal.search(path.read_text())}
    assert found == known
