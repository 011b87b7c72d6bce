"""The repository says what is true, names nobody else's machines, and reads as it should."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.sources import parsed, text_of

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FUNCTION = 60
LONGEST_FILE = 500
LONGEST_ARCHITECTURE = 120
TEXT = {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".json", ".service", ".socket", ""}

HOSTS = {
    "containers.example",
    "docs.docker.com",
    "docs.kernel.org",
    "example.com",
    "github.com",
    "in-toto.io",
    "index.docker.io",
    "json-schema.org",
    "localhost",
    "man7.org",
    "mobyproject.org",
    "opencontainers.org",
    "packaging.python.org",
    "pkg.go.dev",
    "registry-1.docker.io",
    "slsa.dev",
    "spdx.dev",
    "spdx.org",
    "www.apache.org",
    "www.freedesktop.org",
}
"""The hosts that this repository may name in a link; not the mirror that somebody happened to work behind."""


def path_of_one_machine(clone: Path, entries: list[str]) -> re.Pattern[str]:
    """What finds paths that are right on one machine only: into a home directory, or to a file of this clone.

    The clone's own directory is no such path: it may lie at /x or /data, which are fine names inside a container too.

    :param entries: what the clone has at its top.
    """
    inside = "|".join(re.escape(entry) for entry in entries)
    return re.compile(rf"(?<![\w.}}]){re.escape(str(clone))}/({inside})(?![\w-])|/root/\.\w+/|/home/\w+/")


FORBIDDEN = {
    "a path of one machine": path_of_one_machine(ROOT, [path.name for path in ROOT.iterdir()]),
    "an unfinished thought": re.compile(r"\b(TODO|FIXME|XXX)\b"),
}


@cache
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


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    found = []
    for path in project_files():
        if path == Path(__file__).resolve():
            continue
        if not FORBIDDEN[what].search(text_of(path)):  # as a rule; then no line has it either
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("clone", ["/x", "/data", "/src", "/tmp", "/tmp/w", "/srv/one/two"])
def test_a_path_of_one_machine_is_one_that_leads_into_the_clone(clone: str) -> None:
    found = path_of_one_machine(Path(clone), ["src", "tests", ".venv", "README.md"])
    for text in (f"cd {clone}/src", f"'{clone}/.venv/bin/python'", f"see {clone}/README.md.", "/home/me/x"):
        assert found.search(text), text
    for text in (f"-v {clone}:{clone}", f"{clone}/hello", f"{clone}/source", f"{clone}/src-2", f"/mnt{clone}/src"):
        assert not found.search(text), text


def test_links_name_known_hosts_only() -> None:
    unknown = set()
    for path in project_files():
        for host in re.findall(r"https?://([\w.-]+\.[a-z]{2,}|localhost)\b", text_of(path)):
            if host not in HOSTS and not host.endswith(".example.com"):  # RFC 2606: nobody's
                unknown.add(f"{path.relative_to(ROOT)}: {host}")
    assert not unknown, "\n".join(sorted(unknown))


def test_files_and_functions_stay_readable() -> None:
    too_long = []
    for path in sources():
        name = path.relative_to(ROOT)
        lines = text_of(path).count("\n")
        if name.parts[0] == "src" and lines > LONGEST_FILE:
            too_long.append(f"{name}: {lines} lines")
        too_long += [
            f"{name}:{line}: {function} has {length} lines"
            for function, line, length in parsed(path).functions
            if length > LONGEST_FUNCTION
        ]
    assert not too_long, "\n".join(too_long)


def test_no_error_is_swallowed_whole() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in sources() for line in parsed(path).swallowed]
    assert not found, "\n".join(found)


def test_every_module_says_what_it_is_about() -> None:
    silent = [str(path) for path in sources() if not parsed(path).documented]
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
        assert function in {name for name, _, _ in parsed(path).functions}, f"{path} has no function {function}"


def test_the_makefile_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {word for target in targets for word in target.split()}
    named = set(re.findall(r"`?make (\w+)", (ROOT / "README.md").read_text()))
    assert named <= known


def test_links_between_our_pages_lead_somewhere() -> None:
    broken = []
    for page in (path for path in project_files() if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(page)):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def named_code(page: Path) -> Iterator[str]:
    """The Python files, and the modules of wherry, that a page or a docstring names in backticks."""
    wanted = r"wherry(\.\w+){2,}" if page.suffix == ".py" else r"[\w./-]+\.py|wherry(\.\w+)+"
    for span in re.findall(r"`([^`\n]+)`", text_of(page)):
        if re.fullmatch(wanted, span):
            yield span


def code_exists(name: str, files: list[str]) -> bool:
    """Whether there is such a file, or such a module, or such a name in a module.

    :param name: the end of a path (``"engine/spec/build.py"``), or a dotted name.
    :param files: all Python files, relative to the clone.
    """
    if name.endswith(".py"):
        return any(path == name or path.endswith("/" + name) for path in files)
    if module_file(name, files):
        return True
    module, _, last = name.rpartition(".")
    path = module_file(module, files) or module_file(module.rpartition(".")[0], files)  # of a class in a module
    return path is not None and re.search(rf"\b{last}\b", text_of(ROOT / path)) is not None


def module_file(name: str, files: list[str]) -> str | None:
    """The file of a module or package of wherry."""
    stem = "src/" + name.replace(".", "/")
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in files), None)


def test_the_code_that_our_pages_and_docstrings_name_exists() -> None:
    files = [str(path.relative_to(ROOT)) for path in sources()]
    pages = [path for path in project_files() if path.suffix == ".md"] + [ROOT / name for name in files]
    missing = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        for name in named_code(page)
        if not code_exists(name, files)
    ]
    assert not missing, "\n".join(missing)


def test_the_index_of_attacks_names_every_file() -> None:
    folder = ROOT / "tests/attack"
    named = re.findall(r"`(test_\w+\.py)`", (folder / "README.md").read_text())
    there = sorted(path.name for path in folder.glob("test_*.py"))
    assert sorted(named) == there, "a kind of attack is a file, and a row in tests/attack/README.md"


def test_each_weakness_that_is_closed_has_a_test_that_is_there() -> None:
    rows = re.findall(r"^\|.*\| ([^|]*) \|$", (ROOT / "SECURITY.md").read_text().partition("| test |")[2], re.MULTILINE)
    named = [re.findall(r"`([^`]+)`", cell) for cell in rows if not cell.startswith("-")]
    assert len(named) > 15
    assert all(named), named
    assert [path for paths in named for path in paths if not (ROOT / path).exists()] == []


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
    for path in (ROOT / "src/wherry/api").rglob("*.py"):
        for method, pattern in re.findall(r'Route\("([A-Z]+)", "([^"]+)"', text_of(path)):
            routes.add((method, pattern.replace(":path}", "}")))
    assert len(routes) > 70
    assert routes - documented_operations() == set()


def test_the_page_about_the_architecture_stays_short() -> None:
    lines = (ROOT / "ARCHITECTURE.md").read_text().count("\n")
    assert lines <= LONGEST_ARCHITECTURE, "reasons go to docs/design"


def test_the_change_log_knows_the_version() -> None:
    version = re.search(r'__version__.*?=\s*"([^"]+)"', (ROOT / "src/wherry/__init__.py").read_text())
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_page_about_the_database_names_every_table() -> None:
    made = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", text_of(path))
    }
    page = (ROOT / "docs/design/database.md").read_text()
    assert set(re.findall(r"(?m)^\| `(\w+)`", page)) == made
