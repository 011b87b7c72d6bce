"""The log option ``tag``: a template of Go's, with Docker's fields for the container and its image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from wherry.engine.log_drivers.contract import Subject
from wherry.errors import InvalidInput, Unsupported

__all__ = ["FIELDS", "check_tag", "fill_tag", "tag_of"]

FIELDS: Final = "ID FullID Name ImageID ImageFullID ImageName DaemonName Command Hostname".split()
"""Docker's placeholders; those of its structure (``.ContainerLabels``...) work as well."""

_DEFAULT: Final = "{{.ID}}"
_LIMIT: Final = 4096  # characters of a template, and of what it gives
_MOST: Final = 1 << 20  # characters that it may handle on the way
_DAEMON: Final = "docker"  # who looks for tags looks for these


def check_tag(text: str) -> None:
    """Check that a tag can be filled in.

    :raises InvalidInput: it is no template, or names what there is not.
    :raises Unsupported: it has loops or templates in it.
    """
    if "{{" in text:
        fill_tag(text, _NOBODY)


def tag_of(subject: Subject, default: str = _DEFAULT) -> str:
    """The container's tag.

    :param default: the template, where none was asked for.
    """
    return fill_tag(subject.options.get("tag") or default, subject)


def fill_tag(text: str, subject: Subject) -> str:
    """A template with the values of a container.

    :raises InvalidInput: it cannot be filled in.
    """
    if len(text) > _LIMIT:
        raise InvalidInput(f"the log option tag is longer than {_LIMIT} characters")
    if "{{" not in text:
        return text
    from wherry.docker.gotemplate import Template  # noqa: PLC0415 - few containers have a template

    try:
        template = Template(text)
        if template.repeats:
            raise Unsupported("the log option tag takes no loops and no named templates", cause=f"'{text}'")
        filled = template.render(_values(subject), _MOST)[:_LIMIT]
    except ValueError as error:  # a TemplateError, or a number that has too many digits to be printed
        raise InvalidInput(f"invalid log option tag '{text}'", cause=str(error)) from None
    return filled.encode("utf-8", "replace").decode()  # halves of characters go to no receiver


def _values(subject: Subject) -> dict[str, Any]:
    from wherry.docker.gotemplate.go_types import Map, Struct  # noqa: PLC0415

    digits = subject.image_id.removeprefix("sha256:")
    return Struct(
        ID=subject.id[:12], FullID=subject.id, Name=subject.name, ImageID=digits[:12], ImageFullID=subject.image_id,
        ImageName=subject.image, DaemonName=_DAEMON, Command=" ".join(subject.argv), Hostname=os.uname().nodename,
        Config=Map(subject.options), ContainerID=subject.id, ContainerName=f"/{subject.name}",
        ContainerEntrypoint=next(iter(subject.argv), ""), ContainerArgs=list(subject.argv[1:]),
        ContainerImageID=subject.image_id, ContainerImageName=subject.image, ContainerCreated=subject.created,
        ContainerEnv=list(subject.env), ContainerLabels=Map(subject.labels), LogPath=str(subject.file),
    )  # fmt: skip


_NOBODY: Final = Subject(
    id="0" * 64, name="name", image="image", image_id="sha256:" + "0" * 64, argv=["command"], created="", env=(),
    labels={}, options={}, file=Path(),
)  # fmt: skip
