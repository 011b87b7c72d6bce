"""Templates do what Go's do. The expectations were read off Docker's own client where it has the same data."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.docker.gotemplate import Template, TemplateError
from wherry.docker.gotemplate.go_types import with_go_types

DATA: dict[str, Any] = {
    "Name": "web",
    "Empty": "",
    "Ports": [80, 443],
    "Labels": {"b": "2", "a": "1"},
    "State": {"Pid": 5, "Id": "x", "Load": 1.5, "Nothing": None, "Running": True},
    "Label": lambda name: f"<{name}>",
}


def rendered(text: str) -> str:
    return Template(text).render(DATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{ .State.Pid }}", "5"),
        ("{{.State.ID}}", "x"),
        ("{{.State.Load}} {{.State.Running}} {{.State.Nothing}}", "1.5 true <no value>"),
        ("{{.Labels}} {{.Ports}}", "map[a:1 b:2] [80 443]"),
        ("{{range .Ports}}{{.}},{{end}}", "80,443,"),
        ("{{range $i, $p := .Ports}}{{$i}}={{$p}};{{end}}", "0=80;1=443;"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 "),
        ("{{range .Empty2 | print}}{{end}}", None),
        ("{{range .State.Nothing}}x{{else}}none{{end}}", "none"),
        ("{{range .Ports}}{{if eq . 443}}{{break}}{{end}}{{.}}{{end}}", "80"),
        ("{{range .Ports}}{{if eq . 80}}{{continue}}{{end}}{{.}}{{end}}", "443"),
        ("{{if .Empty}}a{{else if .Name}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}}{{$.Name}}{{end}}", "5web"),
        ("{{with .Empty}}a{{else}}b{{end}}", "b"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{with $y := .Name}}{{$y}}{{end}}", "web"),
        ('{{.Label "k"}}', "<k>"),
        ('{{.Label "k" | len}}', "3"),
        ('{{"k" | .Label}}', "<k>"),
        ('{{index .Labels "a"}}{{index .Ports 1}}', "1443"),
        ("{{(index .Ports 0)}}{{(.State).Pid}}", "805"),
        ('{{printf "%-5s|%03d|%q|%v" .Name 7 "a" .Ports}}', 'web  |007|"a"|[80 443]'),
        ('{{printf "%t|%.2f|%x" true 1.5 255}}', "true|1.50|ff"),
        ('{{printf "%d %s" "x"}}', "%!d(string=x) %!s(MISSING)"),
        ('{{printf "%s" "a" "b"}}', "a%!(EXTRA string=b)"),
        ('{{printf "%d%%" 5}}', "5%"),
        ('{{print "a" 1 2 "b"}}', "a1 2b"),
        ('{{println "a" 1}}', "a 1\n"),
        ("{{json .State}}", '{"Pid":5,"Id":"x","Load":1.5,"Nothing":null,"Running":true}'),
        ("{{json .Name}}", '"web"'),
        ('{{join (split "a,b,c" ",") "-"}}', "a-b-c"),
        ("{{upper .Name}}{{lower `ABC`}}{{title `hello world`}}", "WEBabcHello World"),
        ('{{pad "x" 1 2}}|{{truncate "abcdef" 3}}|{{truncate "ab" 3}}', " x  |abc|ab"),
        ("{{and true .Name}} {{and .Empty .Missing}} {{or .Empty 0 .Name}}", "web  web"),
        ("{{not .Empty}} {{eq 1 2 1}} {{ne .Name `x`}} {{lt 1 2}} {{ge 2.5 2}}", "true true true true true"),
        ("{{len .Ports}} {{len .Name}} {{slice .Name 1 2}}", "2 3 e"),
        ("a  {{- .Name -}}  b", "awebb"),
        ("a {{/* comment */}} b{{- /* trimmed */ -}} c", "a  bc"),
        ('{{define "t"}}[{{.}}]{{end}}{{template "t" .Name}}{{block "u" 5}}{{.}}{{end}}', "[web]5"),
        (r'{{"tab\tq\"\u00e9"}}', 'tab\tq"é'),
        ("{{'a'}} {{0x10}} {{1e3}} {{-5}}", "97 16 1000 -5"),
        ("{{html `<a>`}} {{urlquery `a b&c`}}", "&lt;a&gt; a+b%26c"),
    ],
)  # fmt: skip
def test_a_template_says(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError):
            rendered(text)
        return
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Name", "template: :1: unclosed action"),
        ("a\n{{", "template: :2: unclosed action"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("{{if true}}{{foo}}{{end}}", 'template: :1: function "foo" not defined'),
        ("{{.Nope}}", 'template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
        ("{{.Name.X}}", 'template: :1:2: executing "" at <.Name.X>: can\'t evaluate field X in type string'),
        ("{{.State.Nothing.X}}", "nil pointer evaluating interface {}.X"),
        ("{{if .Name}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{range}}{{end}}", "missing value for range"),
        ("{{$x}}", 'undefined variable "$x"'),
        ('{{template "none"}}', 'template "none" not defined'),
        ('{{define "t"}}{{template "t"}}{{end}}{{template "t"}}', "exceeded maximum template depth"),
        ("{{index .Ports 5}}", "error calling index: index out of range: 5"),
        ('{{lt "a" 1}}', "error calling lt: incompatible types for comparison"),
        ("{{.Name 5}}", "is not a method but has arguments"),
        ("{{range .State.Running}}{{end}}", "range can't iterate over true"),
        ('{{"open}}', "unterminated quoted string"),
        ("{{.Name ! }}", "unexpected '!' in operand"),
        ("{{len 5}}", "error calling len: len of type int"),
        ("(" * 10 + "{{" + "(" * 200 + "1" + ")" * 200 + "}}", "too many nested parentheses"),
    ],
)
def test_a_wrong_template_is_told_in_go_s_words(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        rendered(text)
    assert message in str(caught.value)


DOUBLED = '{{$x := "0123456789"}}' + "{{$x = print $x $x}}" * 12


@pytest.mark.parametrize(
    "text",
    [
        '{{$x := "0123456789"}}' + "{{$x = print $x $x}}" * 60,
        DOUBLED + "{{$x}}" * 30,
        DOUBLED + '{{join (split $x "") $x}}',
        f'{{{{printf "{"%9999d" * 200}" 1}}}}',
        f'{{{{printf "%*d{"%9999d" * 200}" -2000000 1}}}}',
        "{{json .}}" * 5_000,
    ],
)
def test_a_template_that_makes_much_of_little_ends_when_it_is_too_much(text: str) -> None:
    with pytest.raises(TemplateError, match=r"too (much|long|large)"):
        Template(text).render(DATA, 1 << 20)


def test_a_bound_leaves_other_templates_alone_and_long_chains_are_refused() -> None:
    assert len(Template(DOUBLED + "{{$x}}").render(DATA, 1 << 20)) == 40960
    with pytest.raises(TemplateError, match="too many nested actions"):
        Template("{{if false}}" + "{{else if false}}" * 2000 + "{{end}}")


PIECES = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", "if ", "else ", "end", "range ", "with ", "$x", ":=", "=", "|", "(", ")", ".", ".Name",
     ".Ports", " ", '"a"', "`", "1", "-1", "eq ", "index ", "printf ", "%d", "json ", "define ", "template ", "break",
     "'", "\\", ",", "\n", "text"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=25))
def test_nothing_typed_makes_anything_but_text_or_a_template_error(pieces: list[str]) -> None:
    with contextlib.suppress(TemplateError):
        assert isinstance(rendered("".join(pieces)), str)


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="%dsvqxtfeg+-# 0123456789.*c", max_size=10), st.integers() | st.floats() | st.text() | st.none()
)
def test_printf_takes_any_verb_and_any_value(template: str, value: Any) -> None:
    quoted = template.replace("\\", "")
    assert isinstance(Template(f'{{{{printf "{quoted}" .}}}}').render(value), str)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_stays_as_it_is(text: str) -> None:
    assert rendered(text) == text


# --- what JSON does not tell

CONTAINER = {
    "Config": {"Labels": {"a": "1"}, "Env": None, "Cmd": ["sh"]},
    "HostConfig": {"Binds": None, "LogConfig": {"Config": {}, "Type": "local"}, "PidsLimit": None},
    "NetworkSettings": {"Networks": {"n": {"IPAddress": "10.0.0.2", "Aliases": None}}, "Ports": {}},
    "State": {"Status": "exited"},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.Config.Labels.nope}}", "<no value>"),
        ("{{.Config.Labels.A}}", "<no value>"),
        ("{{.Config.Labels.nope.deeper}}", "<no value>"),
        ('{{index .Config.Labels "nope"}}|', "|"),
        ('{{if eq (index .Config.Labels "nope") ""}}empty{{end}}', "empty"),
        ('{{or .Config.Labels.nope "d"}} {{printf "%v" .Config.Labels.nope}}', "d <nil>"),
        ("{{with .Config.Labels}}{{.nope}}{{end}}", "<no value>"),
        ("{{.HostConfig.LogConfig.Config.nope}}", "<no value>"),
        ("{{.HostConfig.Annotations.nope}} {{.Config.ExposedPorts}}", "<no value> map[]"),
        ("{{json .Config.Volumes}} {{json .HostConfig.Binds}} {{json .Config.Labels.nope}}", "null null null"),
        (
            "{{.HostConfig.Binds}} {{len .HostConfig.Binds}} {{range .HostConfig.Binds}}x{{else}}none{{end}}",
            "[] 0 none",
        ),
        ("{{.Config.Env}} {{.HostConfig.PidsLimit}} {{.State.Health}}", "[] <nil> <nil>"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}unchecked{{end}}", "unchecked"),
        (
            "{{.NetworkSettings.Networks.other.IPAddress}} {{.NetworkSettings.Networks.n.IPAddress}}",
            "<no value> 10.0.0.2",
        ),
        ('{{index .NetworkSettings.Ports "80/tcp"}}', "[]"),
        ("{{.State.status}}", "exited"),
    ],
)
def test_maps_lists_and_pointers_are_what_they_are_in_go(template: str, expected: str) -> None:
    assert Template(template).render(with_go_types(CONTAINER)) == expected


@pytest.mark.parametrize("template", ["{{.Nope}}", "{{.Config.Nope}}", "{{.State.Health.Status}}", "{{.Labels.nope}}"])
def test_a_structure_has_its_fields_and_no_others(template: str) -> None:
    with pytest.raises(TemplateError):
        Template(template).render(with_go_types(CONTAINER))
