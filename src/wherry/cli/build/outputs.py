"""``--output``: where the result of a build goes; what comes to this side is written here."""

from __future__ import annotations

import os
import stat

from wherry.cli.exit import Exit
from wherry.cli.output.archives import check_output, write_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wherry.cli.flags.parser import Options
    from wherry.client.transport import Response
    from wherry.layers.tar.entry import Entry

__all__ = ["Output", "fields_of", "index_in", "name_of", "outputs_of"]

_IMAGES = ("image", "moby")
_ARCHIVES = ("docker", "oci", "tar")
_MOST = 16
_FAILED = "failed to export"
_INDEX = "index.json"
_MOST_INDEX = 4 << 20


class Output:
    """One place for the result.

    :ivar kind: ``moby`` (the images of the daemon), ``cacheonly``, ``local``, or an archive's: ``docker oci tar``.
    :ivar attributes: options of the exporter.
    :ivar destination: a directory or a file here, ``-`` for standard output; empty where nothing comes here.
    :ivar is_layout: whether an archive of images becomes a directory (``tar=false``).
    """

    def __init__(
        self, kind: str, attributes: dict[str, str], destination: str = "", *, is_layout: bool = False
    ) -> None:
        self.kind, self.attributes, self.destination, self.is_layout = kind, attributes, destination, is_layout

    def as_query(self) -> dict[str, Any]:
        """What the daemon is told."""
        return {"Type": self.kind, "Attrs": self.attributes}

    def check(self) -> None:
        """Find out before the build whether the result can be written.

        :raises wherry.cli.exit.Exit: it cannot.
        """
        if self.kind in _ARCHIVES and not self.is_layout:
            check_output("" if self.destination == "-" else self.destination, _FAILED)
        elif self.destination and os.path.lexists(self.destination) and not os.path.isdir(self.destination):
            raise Exit(1, f"{_FAILED}: {self.destination} is no directory")
        if self.is_layout:
            index_in(self.destination)

    def write(self, response: Response) -> None:
        """Write what the daemon sends.

        :raises wherry.errors.WherryError: it is not what it should be, or cannot be written.
        :raises OSError: it cannot be written.
        """
        if self.is_layout:
            unpack_layout(response.chunks(), self.destination)
        elif self.kind == "local":
            unpack(response.chunks(), self.destination)
        else:
            write_archive(response, "" if self.destination == "-" else self.destination)


def outputs_of(options: Options) -> list[Output]:
    """All places that the flags name.

    :raises wherry.cli.exit.Exit: there is no such place.
    """
    found = [_output(text) for text in options["output"]]
    if not any(one.kind == "moby" for one in found) and (options["push"] or options["load"] or not found):
        found.append(Output("moby", {}))
    if len(found) > _MOST:
        raise Exit(1, f"there are {len(found)} outputs, where {_MOST} are allowed")
    if sum(one.destination == "-" for one in found) > 1:
        raise Exit(1, "only one --output can go to standard output")
    layers = _layers(options)
    for one in found:
        if one.kind == "moby" and options["push"]:
            one.attributes["push"] = "true"
        if one.kind in ("moby", "docker", "oci") and layers != "all":
            one.attributes["layers"] = layers
    return found


def _layers(options: Options) -> str:
    layers = str(options["layers"])
    if options["squash"]:
        if "layers" in options.given and layers != "stage":
            raise Exit(1, f"--squash is --layers=stage: it cannot be given with --layers={layers}")
        layers = "stage"
    if layers not in ("all", "stage", "none"):
        raise Exit(1, f"invalid --layers {layers}: it is all, stage or none")
    return layers


def _output(text: str) -> Output:
    """One flag; a path alone is a directory, ``-`` an archive on standard output."""
    fields = fields_of(text)
    if "" in fields:
        return Output("tar", {}, "-") if text == "-" else Output("local", {}, fields[""])
    kind, destination = fields.pop("type", ""), fields.pop("dest", "")
    is_layout = kind in ("docker", "oci") and fields.pop("tar", "true") in ("false", "0")
    if is_layout and destination in ("", "-"):
        raise Exit(1, f"invalid --output {text}: with tar=false, dest is to be a directory")
    if kind == "registry":
        kind, fields["push"] = "moby", "true"
    elif kind in _IMAGES or (kind == "docker" and not destination):
        kind = "moby"
    elif kind == "local" and destination in ("", "-"):
        raise Exit(1, f"invalid --output {text}: dest is to be a directory")
    elif kind in _ARCHIVES:
        destination = destination or "-"
    elif kind not in ("local", "cacheonly"):
        known = "cacheonly, docker, image, local, oci, registry or tar"
        raise Exit(1, f"invalid --output {text}: the type is {known}")
    if kind in ("moby", "cacheonly") and destination:
        raise Exit(1, f"invalid --output {text}: type={kind} has no dest")
    return Output(kind, fields, destination, is_layout=is_layout)


def fields_of(text: str) -> dict[str, str]:
    """``key=value,key=value``; a word alone has an empty key."""
    if "=" not in text and "," not in text:
        return {"": text}
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {key: value if equals else "true" for key, equals, value in pairs}


# --- files from an archive ------------------------------------------------------------------------


def unpack(pieces: Iterator[bytes], directory: str) -> None:
    """Write the files of an archive below a directory, which is made when it is missing; what is there stays.

    Nothing outside of it is touched, whatever the archive says: no link is written through. All files are this user's,
    none is set-user-ID or has attributes or capabilities; there are no devices and FIFOs. Directories can be entered
    and written by their owner.

    :raises wherry.errors.WherryError: the archive is damaged, goes beyond the limits, or wants what none may want.
    """
    from wherry.layers.limits import DEFAULT_LIMITS
    from wherry.layers.unpack import unpack_files

    os.makedirs(directory, exist_ok=True)
    stream = _Pieces(pieces)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack_files(stream, root, DEFAULT_LIMITS, _harmless)
    finally:
        os.close(root)
    while stream.read(1 << 18):  # its end says whether it was whole
        pass


def unpack_layout(pieces: Iterator[bytes], directory: str) -> None:
    """Write an archive of images as an OCI layout: images that are in the directory stay, but for their names.

    :raises wherry.errors.WherryError: see `unpack`.
    :raises wherry.cli.exit.Exit: the directory has an index.json that is none.
    """
    from wherry.client.codec import encode

    before = index_in(directory)
    unpack(pieces, directory)
    if not before:
        return
    index = index_in(directory)
    new = {(name_of(one), one.get("digest")) for one in index["manifests"]}
    names = {name for name, _ in new if name}
    others = [one for one in before["manifests"] if name_of(one) not in names]
    kept = [one for one in others if (name_of(one), one.get("digest")) not in new]
    path = os.path.join(directory, _INDEX)
    with open(f"{path}.new", "wb") as file:
        file.write(encode({**index, "manifests": [*kept, *index["manifests"]]}))
    os.replace(f"{path}.new", path)


def name_of(entry: dict[str, Any]) -> str:
    """What an image is called in a layout's index: its name, or its tag alone."""
    notes = entry.get("annotations") or {}
    return str(notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name") or "")


def index_in(directory: str) -> dict[str, Any]:
    """The index.json of a directory; empty where there is none.

    :raises wherry.cli.exit.Exit: it is no index.
    """
    from wherry.client.codec import decode

    path = os.path.join(directory, _INDEX)
    try:
        with open(path, "rb") as file:
            found = decode(file.read(_MOST_INDEX))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Exit(1, f"{_FAILED}: {path} cannot be read: {error}") from error
    listed = found.get("manifests") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Exit(1, f"{_FAILED}: {path} is no index")
    return dict(found)


def _harmless(entry: Entry) -> bool:
    """Take away what a file of somebody else may not have here."""
    from wherry.layers.tar.entry import Kind

    entry.uid, entry.gid = os.geteuid(), os.getegid()
    entry.xattrs = {}
    entry.mode &= 0o1777 if entry.kind is Kind.DIRECTORY else 0o777
    if entry.kind is Kind.DIRECTORY:
        entry.mode |= stat.S_IRWXU
    return entry.kind not in (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO)


class _Pieces:
    """Pieces as a stream; an error behind the archive's end is not lost."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._error: Exception | None = None

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._error is not None:
            raise self._error
        if not self._rest:
            try:
                self._rest = next(self._pieces, b"")
            except Exception as error:
                self._error = error
                raise
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece
