"""What a hook gets to know of its container: a bundle with its specification, and the state that names it.

Hooks of vendors' (``nvidia-cdi-hook``) read ``root.path`` in the ``config.json`` of the bundle, to learn where the
container's files are: the container's root is mounted there in its own mount namespace, in which they run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from wherry.oci import runtime_spec
from wherry.runtime.compile.manner import KEEPERS, Manner
from wherry.runtime.steps.hooks import PID

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.oci.runtime_spec import Spec

__all__ = ["has_outer_hooks", "manner_of"]

_CONFIG: Final = "config.json"


def manner_of(spec: Spec, identifier: str, directory: Path) -> Manner:
    """How a container is started: where it has hooks, with a state for them, and a bundle.

    :param directory: of the container's, which only root enters and which goes when it has ended.
    :raises OSError: the bundle cannot be written.
    """
    if spec.hooks is None:
        return KEEPERS
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory / _CONFIG, flags, 0o600)  # it has the variables of the container
    with open(descriptor, "wb") as file:
        file.write(runtime_spec.encode(spec))
    state = {
        "ociVersion": spec.oci_version, "id": identifier, "status": "creating", "pid": 0, "bundle": str(directory),
        "annotations": spec.annotations,
    }  # fmt: skip
    return Manner(state=msgspec.json.encode(state).replace(b'"pid":0', b'"pid":' + PID, 1))


def has_outer_hooks(spec: Spec) -> bool:
    """Whether there are hooks of other kinds than ``createContainer``, which the keeper does not run."""
    return spec.hooks is not None and msgspec.structs.replace(spec.hooks, create_container=()) != runtime_spec.Hooks()
