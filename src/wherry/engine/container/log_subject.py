"""A container as the receivers of its log are told of it."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.engine.container.container import Container
from wherry.engine.log_drivers.contract import Subject

__all__ = ["subject_of"]


def subject_of(container: Container, options: Mapping[str, str]) -> Subject:
    """The container.

    :param options: those that hold for its log.
    """
    definition = container.definition
    return Subject(
        id=container.id, name=container.name, image=definition.image, image_id=definition.image_id,
        argv=definition.argv, created=definition.created, env=container.config.env or (),
        labels=container.config.labels or {}, options=options, file=container.log_file,
    )  # fmt: skip
