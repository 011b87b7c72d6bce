"""Removing names and images by Docker's rules and in its words, which its clients show as they are.

A name goes if the image has others, or no container uses it. With the last name goes the image, unless a container
needs it: a running one always, a stopped one unless forced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from wherry.docker.image_answers import ImageDeleted
from wherry.docker.reference import Reference
from wherry.errors import Conflict, NotFound
from wherry.images.catalog import Catalog
from wherry.images.image import Image
from wherry.oci.digest import Digest

__all__ = ["Removal"]


class Removal:
    """One request to remove.

    :param users: the IDs of the containers that use an image.
    :param is_running: whether a container runs.
    """

    def __init__(
        self,
        catalog: Catalog,
        users: Callable[[Digest], Sequence[str]],
        is_running: Callable[[str], bool],
    ) -> None:
        self._catalog = catalog
        self._users = users
        self._is_running = is_running
        self.records: list[ImageDeleted] = []

    def run(self, text: str, *, force: bool) -> list[ImageDeleted]:
        """Remove a name, or an image by its ID.

        :return: names and digests in the order in which they went.
        :raises NotFound: there is no such image.
        :raises Conflict: something else needs it.
        """
        image = self._catalog.resolve(text)
        if image.built_in:
            raise _conflict(image, "the image is built in", hard=True)
        try:
            self._remove(image, text, force=force)
        except NotFound:
            if not self.records:
                raise  # somebody else was faster with all of it, not just with the rest
        return self.records

    def _remove(self, image: Image, text: str, *, force: bool) -> None:
        if _means_id(text, image):
            if _is_single(image.names):
                self._check(image, force=force, names_matter=False)
                self._untag(image, image.names)
        elif not self._remove_name(image, text, force=force):
            return
        self.remove_image(self._catalog.get(image.id), force=force, named=not _means_id(text, image))

    def run_all(self, images: Iterable[Image]) -> list[ImageDeleted]:
        """Remove those of some images that nobody uses.

        :return: all that went, of what was removed before as well.
        """
        for image in images:
            self.remove_unused(image)
        return self.records

    def remove_unused(self, image: Image) -> bool:
        """Remove an image with the names that it had, unless it has got another one since.

        One that a container uses keeps one name, the last in order, as in Docker: whoever made the container from it
        by another name, or by its ID, finds it by this one.
        """
        if image.built_in:
            return False
        if self._users(image.id):
            names = sorted(image.names, key=str)
            with suppress(NotFound, Conflict):
                while not _is_single(names):
                    self._untag(image, [names.pop(0)])
            return False
        with suppress(NotFound, Conflict):  # somebody else was faster
            self._untag(image, image.names)
            self.remove_image(self._catalog.get(image.id), force=False, named=False)
        return True

    def _remove_name(self, image: Image, text: str, *, force: bool) -> bool:
        """Remove one name; True when the image itself has to go as well."""
        name = Reference.parse(text).with_default_tag()
        users = self._users(image.id)
        if not force and users and _is_single(image.names):
            raise Conflict(
                f'conflict: unable to remove repository reference "{text}" (must force) - '
                f"container {users[0][:12]} is using its referenced image {image.id.short}"
            )
        if name not in image.names:  # by a digest that is not one of its names
            name = next(one for one in image.names if one.name == name.name)
        self._untag(image, [name])
        left = self._catalog.get(image.id).names
        same_repository = [one for one in left if one.name == name.name]
        if name.digest is None and all(one.digest for one in same_repository):
            self._untag(image, same_repository)
        return not self._catalog.get(image.id).names

    def check_running(self, image: Image) -> None:
        """See that no container runs on an image.

        :raises Conflict: one does.
        """
        self._check(image, force=True, names_matter=False)

    def remove_image(self, image: Image, *, force: bool, named: bool) -> None:
        """Remove an image, with the names that it still has.

        :param named: it was asked for by a name, which is gone: that the image stays for its users is no error then.
        :raises Conflict: something else needs it.
        """
        users = self._users(image.id)
        try:
            self._check(image, force=force, names_matter=True)
        except Conflict:
            if named and users:
                return  # the name is gone, as was asked for; that the image stays is no error
            raise
        self._untag(image, image.names)
        others = [other for other in self._catalog.everything() if other.id != image.id]
        needed = {layer.chain_id for other in others for layer in other.layers}
        gone_for_good = self._catalog.retire(image.id, self._users)
        if not gone_for_good and self._catalog.get(image.id).names:
            return  # somebody loaded or tagged it in the same moment
        self.records.append(ImageDeleted(deleted=str(image.id)))
        if gone_for_good:
            gone = [layer for layer in reversed(image.layers) if layer.chain_id not in needed]
            self.records += [ImageDeleted(deleted=str(layer.chain_id)) for layer in gone]

    def _check(self, image: Image, *, force: bool, names_matter: bool) -> None:
        users = self._users(image.id)
        running = [user for user in users if self._is_running(user)]
        if running:
            raise _conflict(image, f"image is being used by running container {running[0][:12]}", hard=True)
        if force:
            return
        if names_matter and image.names:
            raise _conflict(image, "image is referenced in multiple repositories")
        if users:
            raise _conflict(image, f"image is being used by stopped container {users[0][:12]}")

    def _untag(self, image: Image, names: Sequence[Reference]) -> None:
        for name in names:
            self._catalog.unname(name, image.id)
            self.records.append(ImageDeleted(untagged=name.familiar))


def _conflict(image: Image, why: str, *, hard: bool = False) -> Conflict:
    force = "cannot be forced" if hard else "must be forced"
    return Conflict(f"conflict: unable to delete {image.id.short} ({force}) - {why}")


def _means_id(text: str, image: Image) -> bool:
    return image.id.startswith(text) or image.id.hex.startswith(text)


def _is_single(names: Sequence[Reference]) -> bool:
    """Whether there is at most one tag, and nothing but digests of the same repository beside it."""
    tagged = [name for name in names if name.digest is None]
    return len(names) <= 1 or (len(tagged) <= 1 and len({name.name for name in names}) == 1)
