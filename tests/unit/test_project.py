"""The repository says what is true, names nobody else's machines, and reads as it should."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FUNCTION = 60
LONGEST_FILE = 500
TEXT = {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".json", ".service", ".socket", ""}

HOSTS = {
    "containers.example",
    "docs.docker.com",
    "docs.kernel.org",
    "example.com",
    "github.com",
    "index.docker.io",
    "json-schema.org",
    "localhost",
    "man7.org",
    "opencontainers.org",
    "packaging.python.org",
    "pkg.go.dev",
    "registry-1.docker.io",
    "spdx.org",
    "www.apache.org",
    "www.freedesktop.org",
}
"""The hosts that this repository may name in a link; not the mirror that somebody happened to work behind."""

FORBIDDEN = {
    "a path of one machine": re.compile(rf"(?<![\w.}}]){re.escape(str(ROOT))}\b|/root/\.\w+/|/home/\w+/"),
    "an unfinished thought": re.compile(r"\b(TODO|FIXME|XXX)\b"),
}


def project_files() -> list[Path]:
    """The files that belong to the project: those that git tracks or would track."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git work tree")
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def sources() -> list[Path]:
    """Our own Python files."""
    return [path for path in project_files() if path.suffix == ".py"]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of one file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    found = []
    for path in project_files():
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_links_name_known_hosts_only() -> None:
    unknown = set()
    for path in project_files():
        for host in re.findall(r"https?://([\w.-]+\.[a-z]{2,}|localhost)\b", path.read_text(errors="replace")):
            if host not in HOSTS and not host.endswith(".example.com"):  # RFC 2606: nobody's
                unknown.add(f"{path.relative_to(ROOT)}: {host}")
    assert not unknown, "\n".join(sorted(unknown))


def test_files_and_functions_stay_readable() -> None:
    too_long = []
    for path in sources():
        name = path.relative_to(ROOT)
        lines = path.read_text().count("\n")
        if name.parts[0] == "src" and lines > LONGEST_FILE:
            too_long.append(f"{name}: {lines} lines")
        for function in functions(path):
            length = (function.end_lineno or 0) - function.lineno + 1
            if length > LONGEST_FUNCTION:
                too_long.append(f"{name}:{function.lineno}: {function.name} has {length} lines")
    assert not too_long, "\n".join(too_long)


def test_no_error_is_swallowed_whole() -> None:
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ExceptHandler) or not all(isinstance(line, ast.Pass) for line in node.body):
                continue
            if node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found, "\n".join(found)


def test_every_module_says_what_it_is_about() -> None:
    silent = [
        str(path)
        for path in sources()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, "\n".join(silent)


def test_every_dependency_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for dependency in tomllib.loads(text)["project"]["dependencies"]:
        assert re.search(rf'"{re.escape(dependency)}",\s*# \w', text), f"{dependency}: no reason in pyproject.toml"


def test_the_console_scripts_exist() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for target in scripts.values():
        module, _, function = target.partition(":")
        path = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
        assert function in {node.name for node in functions(path)}, f"{path} has no function {function}"


def test_the_makefile_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {word for target in targets for word in target.split()}
    named = set(re.findall(r"`?make (\w+)", (ROOT / "README.md").read_text()))
    assert named <= known


def test_links_between_our_pages_lead_somewhere() -> None:
    broken = []
    for page in (path for path in project_files() if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def documented_operations() -> set[tuple[str, str]]:
    """The operations that docs/api.md names; ``/stop`` after ``POST /x/start`` stands for ``POST /x/stop``."""
    found = set()
    method, path = "", ""
    for span in re.findall(r"`([^`]+)`", (ROOT / "docs/api.md").read_text()):
        for word in span.split(", "):
            full = re.fullmatch(r"([A-Z]+) (/\S+)", word)
            if full:
                method, path = full[1], full[2].partition("?")[0]
            elif word.startswith("/") and path:
                path = path.rpartition("/")[0] + word
            else:
                continue
            found.add((method, path))
    return found


def test_the_page_about_the_api_names_every_operation() -> None:
    routes = set()
    for path in (ROOT / "src/wherry/api").glob("*.py"):
        for method, pattern in re.findall(r'Route\("([A-Z]+)", "([^"]+)"', path.read_text()):
            routes.add((method, pattern.replace(":path}", "}")))
    assert routes - documented_operations() == set()


def test_the_change_log_knows_the_version() -> None:
    version = re.search(r'__version__.*?=\s*"([^"]+)"', (ROOT / "src/wherry/__init__.py").read_text())
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()
