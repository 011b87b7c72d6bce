"""JSON is read as Go's `encoding/json` reads it; the sentences are those of a dockerd."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api.http.gojson import decode
from wherry.docker.container_requests import CreateRequest, HostConfig
from wherry.docker.registry_answers import NewIndex
from wherry.errors import InvalidInput

INVALID = "invalid JSON: "
FIELD = "into Go struct field"


def said(text: str, kind: Any = CreateRequest) -> str:
    """How a text is refused."""
    with pytest.raises(InvalidInput) as refusal:
        decode(text.encode(errors="surrogateescape"), kind)
    return str(refusal.value)


def read(text: str) -> CreateRequest:
    """A request from its text."""
    return decode(text.encode(errors="surrogateescape"), CreateRequest)


def test_the_names_of_members_have_any_case() -> None:
    request = read('{"IMAGE": "busybox", "cmd": ["x"], "hostconfig": {"memory": 7, "BLKIODEVICEREADIOPS": []}}')
    assert request.image == "busybox"
    assert request.cmd == ["x"]
    assert request.host_config == HostConfig(memory=7, blkio_device_read_iops=[])


def test_the_last_of_two_spellings_counts() -> None:
    assert read('{"Image": "one", "image": "two"}').image == "two"


def test_null_is_not_set() -> None:
    assert read("null") == read("{}") == CreateRequest()
    fields = dict.fromkeys(HostConfig.__struct_encode_fields__)
    assert decode(json.dumps(fields).encode(), HostConfig) == HostConfig()
    policy, device = {"Name": None, "MaximumRetryCount": None}, {"PathOnHost": None}
    parts = {"RestartPolicy": policy, "Ulimits": [None], "Devices": [device]}
    host = decode(json.dumps(parts).encode(), HostConfig)
    assert host.restart_policy
    assert host.restart_policy.name == ""
    assert host.ulimits
    assert host.ulimits[0].name == ""
    assert host.devices
    assert host.devices[0].path_on_host == ""


@pytest.mark.parametrize("text", ["null", "{}", '{"Manifests": null}'])
def test_a_member_that_has_to_be_there_is_the_zero_value_where_it_is_not(text: str) -> None:
    assert decode(text.encode(), NewIndex).manifests == []
    (one,) = decode(b'{"Manifests": [{"Platform": {"os": "linux"}}]}', NewIndex).manifests
    assert (one.reference, one.platform.os, one.platform.architecture) == ("", "linux", "")


def test_null_in_a_list_or_a_map_is_the_zero_value() -> None:
    request = read('{"Env": ["A=1", null], "Labels": {"a": null}, "ExposedPorts": {"80": null}}')
    assert request.env == ["A=1", ""]
    assert request.labels == {"a": ""}
    assert request.exposed_ports == {"80": {}}


def test_one_word_may_stand_for_a_list() -> None:
    assert read('{"Cmd": "ls"}').cmd == "ls"
    assert read('{"Cmd": ["ls", null]}').cmd == ["ls", ""]


def test_members_that_nobody_knows_are_ignored() -> None:
    assert read('{"Nobody": [1, {"x": 1e999}], "Image": "a"}').image == "a"


def test_numbers_go_where_they_fit() -> None:
    host = decode(
        b'{"Memory": -9223372036854775808, "BlkioWeight": 65535, "CpuShares": 9223372036854775807}', HostConfig
    )
    assert (host.memory, host.blkio_weight, host.cpu_shares) == (-(1 << 63), 65535, (1 << 63) - 1)


@pytest.mark.parametrize(("text", "size"), [("[1]", (1, 0)), ("[1, 2, 3]", (1, 2)), ("[]", (0, 0)), ("null", None)])
def test_an_array_has_its_length(text: str, size: tuple[int, int] | None) -> None:
    assert decode(f'{{"ConsoleSize": {text}}}'.encode(), HostConfig).console_size == size


def test_what_is_no_utf8_is_replaced() -> None:
    assert read('{"Labels": {"a\\ud800": "b\udcff", "c": "\\ud83d\\ude00"}}').labels == {
        "a\ufffd": "b\ufffd",
        "c": "😀",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"HostConfig":{"Memory":"x"}}', f"string {FIELD} HostConfig.HostConfig.Memory of type int64"),
        ('{"HostConfig":{"Memory":1.5}}', f"number 1.5 {FIELD} HostConfig.HostConfig.Memory of type int64"),
        ('{"HostConfig":{"Memory":1e2}}', f"number 1e2 {FIELD} HostConfig.HostConfig.Memory of type int64"),
        ('{"Image":5}', f"number {FIELD} CreateRequest.Image of type string"),
        ('{"Image":["a"]}', f"array {FIELD} CreateRequest.Image of type string"),
        ('{"Cmd":5}', f"number {FIELD} CreateRequest.Cmd of type string"),
        ('{"Cmd":["a",5]}', f"array {FIELD} CreateRequest.Cmd of type string"),
        ('{"Env":"x"}', f"string {FIELD} CreateRequest.Env of type []string"),
        ('{"Labels":{"a":1}}', f"number {FIELD} CreateRequest.Labels of type string"),
        ('{"Labels":[]}', f"array {FIELD} CreateRequest.Labels of type map[string]string"),
        ('{"Tty":"x"}', f"string {FIELD} CreateRequest.Tty of type bool"),
        ('{"ExposedPorts":{"80":1}}', f"number {FIELD} CreateRequest.ExposedPorts of type struct {{}}"),
        ('{"HostConfig":5}', f"number {FIELD} CreateRequest.HostConfig of type container.HostConfig"),
        ('{"HostConfig":{"ConsoleSize":[-1,2]}}', f"number -1 {FIELD} HostConfig.HostConfig.ConsoleSize of type uint"),
        ('{"HostConfig":{"BlkioWeight":70000}}',
         f"number 70000 {FIELD} HostConfig.HostConfig.BlkioWeight of type uint16"),
        ('{"HostConfig":{"PortBindings":{"80":[{"HostPort":80}]}}}',
         f"number {FIELD} PortBinding.HostConfig.PortBindings.HostPort of type string"),
        ("[1]", "array into Go value of type container.CreateRequest"),
        ('"x"', "string into Go value of type container.CreateRequest"),
        ("true", "bool into Go value of type container.CreateRequest"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_named(text: str, sentence: str) -> None:
    assert said(text) == f"{INVALID}json: cannot unmarshal {sentence}"


@pytest.mark.parametrize("digits", [20, 5000, 200_000])
def test_a_number_of_any_length_is_refused_as_a_number(digits: int) -> None:
    number = "9" * digits
    assert f"cannot unmarshal number {number} into" in said(f'{{"StopTimeout":{number}}}')
    assert decode(f'{{"Mounts":[{{"VolumeOptions":{{"a":{number}}}}}]}}'.encode(), HostConfig).mounts


@pytest.mark.parametrize(
    "text", ["{", '{"a', '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":nul', '{"a":"é}', '"\\u12', "-"]
)
def test_a_text_that_ends_too_early(text: str) -> None:
    assert said(text) == INVALID + "unexpected EOF"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a":1,}', "'}' looking for beginning of object key string"),
        ("{a:1}", "'a' looking for beginning of object key string"),
        ("{'a':1}", r"'\'' looking for beginning of object key string"),
        ('{"a" 1}', "'1' after object key"),
        ('{"a":1 "b"}', "'\"' after object key:value pair"),
        ("[1 2]", "'2' after array element"),
        ("[1,]", "']' looking for beginning of value"),
        ('{"a":tru}', "'}' in literal true (expecting 'e')"),
        ('{"a":truf}', "'f' in literal true (expecting 'e')"),
        ('{"a":01}', "'1' after object key:value pair"),
        ('{"a":1.}', "'}' after decimal point in numeric literal"),
        ('{"a":-}', "'}' in numeric literal"),
        ('{"a":1e}', "'}' in exponent of numeric literal"),
        ('{"a":"\\x"}', "'x' in string escape code"),
        ('{"a":"\\u12G4"}', r"'G' in \u hexadecimal character escape"),
        ('{"a":"\n"}', r"'\n' in string literal"),
        ('{"a":"\x01"}', r"'\x01' in string literal"),
        ('{"a":.5}', "'.' looking for beginning of value"),
        ('{"a":NaN}', "'N' looking for beginning of value"),
        ('{"a":-Infinity}', "'I' in numeric literal"),
        ("x", "'x' looking for beginning of value"),
        ("é", "'Ã' looking for beginning of value"),
        ("\ufeff{}", "'ï' looking for beginning of value"),
        ('{"a":\udcff}', "'ÿ' looking for beginning of value"),
        ('{"a":1 \udc80}', r"'\u0080' after object key:value pair"),
        ("{\x7f", r"'\x7f' looking for beginning of object key string"),
    ],
)
def test_a_character_in_the_wrong_place_is_named(text: str, sentence: str) -> None:
    assert said(text) == f"{INVALID}invalid character {sentence}"


@pytest.mark.parametrize("text", ['{"a":1}x', '{"a":1} {"b":2}', "{}}"])
def test_what_follows_the_value_is_refused(text: str) -> None:
    assert said(text) == "unexpected content after JSON"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_is_the_end_of_the_file(text: str) -> None:
    assert said(text) == INVALID + "got EOF while reading request body"


@pytest.mark.parametrize("depth", [100, 600, 3000, 20_000, 200_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("place", ['{"Nobody": %s}', '{"HostConfig": {"Mounts": [{"VolumeOptions": {"a": %s}}]}}'])
def test_any_depth_is_read_or_refused(place: str, begin: str, end: str, depth: int) -> None:
    text = place % (begin * depth + "1" + end * depth)
    refusal = refusal_of(text.encode())
    assert not refusal or (depth > 60 and refusal.endswith("exceeded max depth"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from([*CreateRequest.__struct_encode_fields__, "hostconfig", "Nobody"])


@pytest.mark.slow
@given(
    st.dictionaries(
        members,
        json_values | st.dictionaries(st.sampled_from(HostConfig.__struct_encode_fields__), json_values, max_size=3),
        max_size=3,
    )
)
def test_any_value_is_read_or_refused(value: Any) -> None:
    refusal_of(json.dumps(value).encode())


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789.eE+-truefalsn\\u \n').map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert refusal_of(data) != f"{INVALID}exceeded max depth", "the scanner takes for JSON what the parser does not"


def refusal_of(data: bytes) -> str:
    """How a text is refused, or an empty string when it is taken."""
    try:
        decode(data, CreateRequest)
    except InvalidInput as refusal:
        return str(refusal)
    return ""
