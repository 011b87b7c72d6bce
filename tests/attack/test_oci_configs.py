"""``config.json`` of somebody who means harm, or has made every mistake there is: a plan, or an error that says why."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.oci_configs import PLACES, whole
from wherry.errors import WherryError
from wherry.oci.runtime_spec import decode, encode
from wherry.runtime.compile.hooks import hook_values
from wherry.runtime.compile.manner import Manner
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.plan import Plan

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        [
            "",
            "/",
            "..",
            "../..",
            "/\0",
            "a" * 5000,
            "\ud800",
            "rbind",
            "0-99999999",
            "%s",
            "lowerdir=/:/",
            "/proc/self/fd/3",
        ]
    ),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def compiled(text: str | bytes) -> Plan:
    """What the command does before it touches anything."""
    spec = decode(text)
    encode(spec)
    for hooks in (spec.hooks.start_container, spec.hooks.poststop) if spec.hooks else ():
        list(hook_values("poststop", hooks))
    return compile_spec(spec, container_id="c", bundle="/bundle", manner=Manner(waits=True, apart=True, state=b"{}"))


def test_the_specification_that_is_spoilt_is_a_good_one() -> None:
    plan = compiled(json.dumps(whole()))
    assert Plan.decode(plan.encode()) == plan


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
@example([(("mounts",), [{"destination": f"/m{number}", "type": "tmpfs"} for number in range(10000)])])
@example([(("linux", "namespaces", 0, "path"), "/proc/1/ns/pid\0")])
@example([(("process", "args"), [])])
@example([(("process", "args"), [""])])
@example([(("hooks", "prestart", 0, "timeout"), 2**62)])
def test_any_value_in_any_place_is_a_plan_or_an_error_of_ours(spoilt: list[tuple[tuple[Any, ...], Any]]) -> None:
    spec = json.loads(json.dumps(whole()))
    for (*above, last), value in spoilt:
        target: Any = spec
        try:
            for key in above:
                target = target[key]
            target[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier one has taken the place away
    with suppress(WherryError):
        compiled(json.dumps(spec)).encode()


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\xff\xfe")
def test_any_bytes_are_an_error_of_ours(data: bytes) -> None:
    with suppress(WherryError):
        compiled(data)
