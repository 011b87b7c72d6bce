"""Checks of image names and platforms."""

from __future__ import annotations

from typing import Final

from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, NotFound
from wherry.images.catalog import RESERVED
from wherry.oci.platform import Platform

__all__ = ["lacks_platform", "refuse_reserved", "writable_name"]

_ALGORITHMS: Final = ("sha256", "sha384", "sha512")


def writable_name(text: str) -> Reference:
    """A name that an image may be given.

    :raises InvalidInput: it is no name, or one with a digest, or the built-in image's.
    """
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise InvalidInput("refusing to create a tag with a digest reference")
    if reference.familiar_name in _ALGORITHMS:
        raise InvalidInput("refusing to create an ambiguous tag using digest algorithm as name")
    reference = reference.with_default_tag()
    refuse_reserved(reference)
    return reference


def refuse_reserved(name: Reference) -> None:
    """Only the built-in image has its name.

    :raises InvalidInput: this is it.
    """
    if name.name == RESERVED.name:
        raise InvalidInput(f"'{RESERVED.familiar_name}' is a reserved name")


def lacks_platform(name: str, wanted: Platform) -> NotFound:
    """Docker's words."""
    return NotFound(f"image with reference {name} was found but does not provide the specified platform ({wanted})")
