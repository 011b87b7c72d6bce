"""Manifest lists that are being put together: files beside Docker's configuration, until they are pushed.

One file for each list, ``wherry/manifests/<name>.json`` in the folder of the configuration; its members are images of a
registry by digest, with their platforms.
"""

from __future__ import annotations

import json
import os

from wherry.cli.config_file import config_folder
from wherry.client.transport import escape
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Member = dict[str, Any]

__all__ = ["ManifestList", "full_reference"]


def full_reference(name: str) -> Reference:
    """A name with its registry and a tag."""
    return Reference.parse(name).with_default_tag()


class ManifestList:
    """One list.

    :param name: as the user wrote it.
    :ivar members: each with its `Reference` (the name as it was given), `Descriptor` and `Manifest`.
    """

    def __init__(self, name: str) -> None:
        self.name = full_reference(name)
        self._given = name
        file = escape(str(self.name)).replace("/", "%2F")
        self._path = os.path.join(config_folder(), "wherry", "manifests", f"{file}.json")
        self.members: list[Member] = []
        self.is_there = False
        self._read()

    def _read(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                self.members = list(json.load(file))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(f"cannot read {self._path}", cause=str(error)) from error
        self.is_there = True

    def require(self) -> None:
        """Check that there is one.

        :raises NotFound: there is none.
        """
        if not self.is_there:
            raise NotFound(f"No such manifest: {self._given}")

    def member(self, name: str) -> Member:
        """The member of a name.

        :raises NotFound: there is none.
        """
        wanted = str(full_reference(name))
        found = next((one for one in self.members if one["Reference"] == wanted), None)
        if found is None:
            raise NotFound(f"manifest for image {name} does not exist in {self._given}")
        return found

    def put(self, member: Member) -> None:
        """Add a member; one of the same name is replaced."""
        self.members = [one for one in self.members if one["Reference"] != member["Reference"]] + [member]

    def write(self) -> None:
        """Keep it."""
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        unfinished = f"{self._path}.{os.getpid()}"
        with open(unfinished, "w", encoding="utf-8") as file:
            json.dump(self.members, file, indent="\t")
        os.rename(unfinished, self._path)

    def remove(self) -> None:
        """Forget it.

        :raises NotFound: there is none.
        """
        self.require()
        os.unlink(self._path)

    def document(self) -> dict[str, Any]:
        """The list as it will be at the registry."""
        kinds = {one["Descriptor"]["mediaType"] for one in self.members}
        oci = kinds == {"application/vnd.oci.image.manifest.v1+json"}
        kind = "oci.image.index.v1" if oci else "docker.distribution.manifest.list.v2"
        return {
            "schemaVersion": 2,
            "mediaType": f"application/vnd.{kind}+json",
            "manifests": [one["Descriptor"] for one in self.members],
        }
