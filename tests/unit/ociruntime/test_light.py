"""The small modules that ``wherry-oci`` has in place of large ones do what these do, as far as they are used."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.oci_configs import PLACES, whole
from wherry.errors import WherryError
from wherry.oci.runtime_spec import decode, encode

SOURCE = Path(__file__).resolve().parents[3] / "src"
LIGHT = SOURCE / "wherry/ociruntime/light"
STAND_INS = sorted(
    {path.relative_to(LIGHT).parts[0].removesuffix(".py") for path in LIGHT.rglob("*.py")} - {"__init__"}
)
VERBS = "create start state kill delete run exec_ pause resume".split()
JUNK: tuple[Any, ...] = (None, True, -1, 2**70, 1.5, 1.0, "", "é", "\ud800", [], [1], ["a"], {}, {"a": 1}, {"a": "b"})


def light(code: str, given: str = "") -> str:
    """What a program prints that has the small modules."""
    paths = f"import sys; sys.path[:0] = [{str(LIGHT)!r}, {str(SOURCE)!r}]; "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + code], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def loaded() -> dict[str, str]:
    """Every module of wherry that the verbs import, or import when they need it; and its file."""
    names = ", ".join(f"wherry.ociruntime.verbs.{verb}" for verb in VERBS)
    more = "wherry.ociruntime.inner_hooks, wherry.ociruntime.group, wherry.runtime.hooks, wherry.ociruntime.main"
    pairs = "{n: m.__file__ for n, m in sys.modules.items() if n.startswith('wherry') and m.__file__}"
    code = f"import {names}, {more}\nimport json\nprint(json.dumps({pairs}))"
    found: dict[str, str] = json.loads(light(code))
    return found


def used(path: str) -> dict[str, set[str]]:
    """What a file uses of each module that has a stand-in."""
    tree = ast.parse(Path(path).read_text())
    names: dict[str, str] = {}
    found: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(one.asname or one.name).partition(".")[0]: one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in STAND_INS:
            found[node.module] |= {one.name for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id, "")
            if module.partition(".")[0] in STAND_INS:
                found[module].add(node.attr)
    return found


def test_the_verbs_import_none_of_the_large_modules() -> None:
    assert len(loaded()) > 50
    code = "import wherry.ociruntime.verbs.run, wherry.ociruntime.verbs.exec_\nprint(*sys.modules)"
    assert not {"inspect", "selectors", "dataclasses", "subprocess", "json.encoder", "sre_parse"} & set(
        light(code).split()
    )


def test_the_small_modules_have_all_that_is_used_of_them() -> None:
    wanted: dict[str, set[str]] = defaultdict(set)
    for path in loaded().values():
        for module, names in used(path).items():
            wanted[module] |= names
    assert {"typing", "enum", "socket", "msgspec"} <= set(wanted)
    code = "import json\nfrom importlib import import_module as get\nwanted = json.loads(sys.stdin.read())\n"
    code += "print(json.dumps([m + '.' + n for m, ns in wanted.items() for n in ns if not hasattr(get(m), n)]))"
    missing = json.loads(light(code, json.dumps({module: sorted(names) for module, names in wanted.items()})))
    only_for_types = {"typing.TYPE_CHECKING", "types.TracebackType"}
    assert set(missing) - only_for_types == set()


def documents() -> list[str]:
    """Specifications, with one value spoilt in each."""
    found = [json.dumps(whole())]
    for number, (*above, last) in enumerate(PLACES):
        for junk in (JUNK[number % len(JUNK)], JUNK[(number * 7 + 3) % len(JUNK)], JUNK[(number * 11 + 5) % len(JUNK)]):
            spec = json.loads(found[0])
            target: Any = spec
            for key in above:
                target = target[key]
            target[last] = junk
            found.append(json.dumps(spec))
    return [
        *found,
        "",
        "{",
        "[]",
        "nul",
        '{"a":1} x',
        '{"ociVersion":"1"',
        "\ufeff{}",
        '{"root":{"path":"a"}}',
        '{"a":NaN}',
    ]


def outcome(text: str) -> str:
    """What a specification is read as, in one form; or that it is refused."""
    try:
        return json.dumps(json.loads(encode(decode(text))), sort_keys=True)
    except WherryError:
        return "refused"


def test_specifications_are_read_and_refused_as_msgspec_does() -> None:
    code = (
        "import json\nfrom wherry.oci.runtime_spec import decode, encode\nfrom wherry.errors import WherryError\n"
        "def outcome(text):\n"
        "    try:\n        return json.dumps(json.loads(encode(decode(text))), sort_keys=True)\n"
        "    except WherryError:\n        return 'refused'\n"
        "print(json.dumps([outcome(text) for text in json.loads(sys.stdin.read())]))"
    )
    texts = documents()
    answers = json.loads(light(code, json.dumps(texts)))
    different = [
        (text, ours, theirs) for text, ours in zip(texts, answers, strict=True) if ours != (theirs := outcome(text))
    ]
    assert len(set(answers)) > 50
    assert different == []


NAMED_TUPLES = """
from typing import NamedTuple
class A(NamedTuple):
    '''A.'''
    a: int
    b: str = 'x'
    def both(self): return self.a, self.b
one = A(1)
print(one, one.both(), A(2, b='y'), one == (1, 'x'), one._replace(a=3), one._asdict(), A._fields)
print(hash(one) == hash((1, 'x')))
for wrong in (lambda: A(), lambda: A(1, 2, 3), lambda: A(1, c=2), lambda: A(1, a=2), lambda: one._replace(c=1)):
    try: print(wrong())
    except (TypeError, ValueError): print("refused")
"""
ENUMERATIONS = """
from enum import IntFlag, IntEnum
class F(IntFlag):
    A = 1
    B = 2
    C = 4
class E(IntEnum):
    X = 0
    Y = 7
print([int(f) for f in F], [f.name for f in F], int(F.A | F.B), int(F.C & 6), E(7).name, E['X'] == 0, 7 in list(E))
try: E(5)
except ValueError: print('none')
"""
CONTEXTS = """
from contextlib import ExitStack, contextmanager, suppress, closing
@contextmanager
def c(name):
    print('in', name)
    try: yield name
    finally: print('out', name)
with suppress(KeyError):
    {}['a']
try:
    with ExitStack() as s:
        s.enter_context(c('x')); s.enter_context(c('y')); raise OSError(3)
except OSError as error: print(error)
with ExitStack() as s:
    s.enter_context(suppress(ValueError)); s.enter_context(c('z')); raise ValueError
try:
    with c('w'): raise KeyError('k')
except KeyError as error: print(error)
print('end')
"""
JSON = r"""
import json
print(json.dumps({'a': [1, None, True, 'é\n'], 'b': {}}), json.loads('  [1, 2.5, "\u00e9", {}] '))
for wrong in ('', '[', '{"a" 1}', '[1] 2', '"\x01"'):
    try: print(json.loads(wrong))
    except ValueError: print('wrong')
"""
SOCKETS = """
import socket, os
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
r, w = os.pipe()
print(socket.send_fds(a, [b'word'], [r, w]))
with b:
    data, ancillary, _, _ = b.recvmsg(10, socket.CMSG_LEN(16), socket.MSG_CMSG_CLOEXEC)
print(data, [(level, kind, len(rights)) for level, kind, rights in ancillary])
"""
CACHES = """
from functools import lru_cache
@lru_cache
def f(x): print('f', x); return x
@lru_cache(maxsize=1)
def g(x): print('g', x); return x
f(1); f(1); g(1); g(2); g(1)
"""


@pytest.mark.parametrize("code", [NAMED_TUPLES, ENUMERATIONS, CONTEXTS, JSON, SOCKETS, CACHES])
def test_the_small_modules_do_what_the_large_ones_do(code: str) -> None:
    theirs = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert light(code) == theirs


@pytest.mark.slow
def test_the_collected_code_is_that_of_the_sources_and_is_made_anew_when_one_changes(tmp_path: Path) -> None:
    shutil.copytree(SOURCE / "wherry", tmp_path / "wherry", ignore=shutil.ignore_patterns("__pycache__"))
    made = tmp_path / "wherry/ociruntime/__pycache__"
    entry = tmp_path / "wherry/ociruntime/entry.py"

    def delete(*flags: str) -> str:
        """What ``exec`` says of a container that is not there, and which modules came from the file."""
        command = [sys.executable, "-I", "-S", "-v", str(entry), "--root", str(tmp_path / "root"), *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    first = delete("exec", "nobody", "true")
    assert "container does not exist" in first
    assert "collected.Collected" not in first
    (file,) = made.glob("collected.*[0-9]")
    before = file.stat().st_mtime_ns
    second = delete("exec", "nobody", "true")
    assert "container does not exist" in second
    assert "collected.Collected" in second
    assert file.stat().st_mtime_ns == before
    changed = tmp_path / "wherry/ociruntime/container.py"
    changed.write_text(changed.read_text().replace("container does not exist", "there is no such container"))
    assert "there is no such container" in delete("exec", "nobody", "true")
    assert file.stat().st_mtime_ns != before
    file.write_bytes(b"junk")
    assert "there is no such container" in delete("exec", "nobody", "true")
