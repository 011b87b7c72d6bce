"""``--cache-from`` and ``--cache-to`` with ``type=local``: directories of this side that have cache, as OCI layouts."""

from __future__ import annotations

import os

from wherry.cli.build.layouts import Blobs, digest_of
from wherry.cli.build.outputs import fields_of, index_in, name_of
from wherry.cli.console import write_error
from wherry.cli.exit import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wherry.cli.flags.parser import Options

__all__ = ["CacheDirectory", "caches_of", "is_local"]

_LATEST = "latest"
_NAME = "org.opencontainers.image.ref.name"
_INDEX = "index.json"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class CacheDirectory(Blobs):
    """A directory that cache comes from, or goes to.

    :ivar attributes: what the daemon is told, beside the name under which it asks for blobs.
    :ivar is_target: whether blobs may be stored.
    """

    def __init__(self, fields: Mapping[str, str], *, is_target: bool) -> None:
        self.attributes = {name: value for name, value in fields.items() if name not in ("type", "tag", "src", "dest")}
        self.root = fields.get("dest" if is_target else "src", "")
        self.tag = fields.get("tag") or _LATEST
        self.is_target = is_target

    @property
    def called(self) -> str:
        """Its name for the daemon, which shows where cache comes from."""
        path = os.path.abspath(self.root)
        return f"to {path}" if self.is_target else path if self.tag == _LATEST else f"{path}:{self.tag}"

    def find(self) -> None:
        """Find what the tag means.

        :raises wherry.cli.exit.Exit: nothing.
        """
        found = self.attributes.get("digest") or digest_of(self.root, self.tag, f"type=local,src={self.root}")
        if not found:
            raise Exit(1, f"the cache type=local,src={self.root} has no {self.tag}")
        self.attributes["digest"] = found

    def size(self, digest: str) -> int | None:
        """How many bytes a blob has; None: it is not there."""
        try:
            return os.stat(self.path(digest)).st_size
        except OSError:
            return None

    def store(self, digest: str, pieces: Iterable[bytes]) -> None:
        """Write a blob.

        :raises wherry.errors.CorruptData: it is another one.
        :raises OSError: it cannot be written.
        """
        import hashlib

        from wherry.errors import CorruptData

        path = self.path(digest)
        unfinished, found = f"{path}.new", hashlib.new(digest.partition(":")[0])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(unfinished, "wb") as file:
                for piece in pieces:
                    found.update(piece)
                    file.write(piece)
            is_whole = found.hexdigest() == digest.partition(":")[2]
            if is_whole:
                os.replace(unfinished, path)
        finally:
            if os.path.lexists(unfinished):
                os.unlink(unfinished)
        if not is_whole:
            raise CorruptData(f"the daemon sends another blob than {digest}")

    def name(self, descriptor: Mapping[str, object]) -> None:
        """Have the tag mean what was stored last; other names stay."""
        from wherry.client.codec import encode

        index = index_in(self.root) or {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}
        kept = [one for one in index.get("manifests", []) if name_of(one) != self.tag]
        entry = {**descriptor, "annotations": {_NAME: self.tag}}
        self._replace(_INDEX, encode({**index, "manifests": [*kept, entry]}))
        self._replace("oci-layout", _LAYOUT)

    def _replace(self, name: str, data: bytes) -> None:
        path = os.path.join(self.root, name)
        with open(f"{path}.new", "wb") as file:
            file.write(data)
        os.replace(f"{path}.new", path)


def is_local(text: str) -> bool:
    """Whether a flag's value means a directory of this side."""
    return fields_of(text).get("type") == "local"


def caches_of(options: Options) -> dict[str, CacheDirectory]:
    """The directories of a command, by the names under which the daemon asks for them, see `CacheDirectory.called`.

    One that is to be read and is not there is left out, as a registry's would be.

    :raises wherry.cli.exit.Exit: a value makes no sense.
    """
    found: dict[str, CacheDirectory] = {}
    for flag, needed in (("cache-from", "src"), ("cache-to", "dest")):
        for text in options[flag]:
            if not is_local(text):
                continue
            cache = CacheDirectory(fields_of(text), is_target=needed == "dest")
            if not cache.root:
                raise Exit(1, f"invalid --{flag} {text}: {needed}=DIRECTORY is missing")
            if cache.is_target:
                index_in(cache.root)  # refuses what is none before the build
            elif os.path.exists(os.path.join(cache.root, _INDEX)):
                cache.find()
            else:
                write_error("WARNING: cache of {} is left out: there is no {}\n", cache.root, _INDEX)
                continue
            found[cache.called] = cache
    if sum(one.is_target for one in found.values()) > 1:
        raise Exit(1, "--cache-to type=local can be given once")
    return found
