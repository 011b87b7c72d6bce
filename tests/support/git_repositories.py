"""Git repositories on this machine's disk and behind plain web servers, and a source that fetches them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.build_sources import Directories, Drafts, request_for
from wherry.build.model.snapshot import Snapshot
from wherry.build.sources.contract import SourceKey
from wherry.build.sources.git import GitSource
from wherry.layers.limits import DEFAULT_LIMITS, Limits

__all__ = ["MOMENT", "Git", "Repository", "git", "redirecting", "served"]

MOMENT = 1_400_000_000


def git(directory: Path, *arguments: str, given: str | None = None) -> str:
    """Run git, as somebody with a fixed clock."""
    who = {f"GIT_{one}_{part}": "somebody" for one in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    when = {f"GIT_{one}_DATE": f"{MOMENT} +0000" for one in ("AUTHOR", "COMMITTER")}
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "file:http", **who, **when,
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, check=True, capture_output=True, text=True, input=given
    )
    return done.stdout.strip()


class Repository:
    """A repository with two commits, a tag and a branch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--initial-branch=main")
        (path / "sub").mkdir()
        (path / "Dockerfile").write_text("FROM scratch\n")
        (path / "sub" / "file").write_text("one")
        self.first = self.commit()
        git(path, "tag", "-a", "v1", "-m", "first")
        (path / "sub" / "file").write_text("two")
        self.second = self.commit()
        git(path, "branch", "other", self.first)

    def commit(self) -> str:
        """Commit everything; its ID."""
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--message=x")
        return git(self.path, "rev-parse", "HEAD")

    @property
    def url(self) -> str:
        """Its address."""
        return f"file://{self.path}"


class Git:
    """A source, in a directory of its own."""

    def __init__(self, root: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        self.drafts, self.directories = Drafts(root / "layers"), Directories(root / "kept")
        self.source = GitSource(self.directories, self.drafts, limits)

    async def fetch(self, url: str, session: Any = None, **attributes: str) -> tuple[SourceKey, Snapshot]:
        """The key and the files."""
        address, mark, fragment = url.partition("#")
        identifier = f"git://{address.partition('://')[2]}{mark}{fragment}"
        fetch = self.source.open(request_for(identifier, session, git__fullurl=address, **attributes))
        try:
            return await fetch.key(), await fetch.snapshot()
        finally:
            await fetch.close()
            assert not self.directories.used
            assert not self.drafts.open


@contextmanager
def served(root: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A plain web server over a directory, which is all that git needs to read, and the heads of its requests."""
    asked: list[dict[str, str]] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            super().do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def redirecting(to: str) -> Iterator[str]:
    """A web server that has everything elsewhere."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", to + self.path)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
