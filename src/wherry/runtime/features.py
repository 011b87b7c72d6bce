"""The *features* document: what of the specification this runtime knows (features.md, features-linux.md).

All names come from the tables that the runtime itself reads a specification with. It is about the program, but for
seccomp, whose library and kernel decide what can be had.
"""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from wherry import __version__
from wherry.linux import capabilities, seccomp
from wherry.oci.runtime_spec import VERSION, Hooks, NamespaceType
from wherry.runtime.cgroups.scope_properties import ANNOTATION as SYSTEMD_PROPERTY
from wherry.runtime.compile import process
from wherry.runtime.compile.mount_options import KNOWN
from wherry.runtime.steps import init

__all__ = ["features"]

_OLDEST: Final = "1.0.0"
_OWN_ANNOTATIONS: Final = (init.ANNOTATION, process.RLIMITS, process.EXTRA_GROUPS)


def features() -> dict[str, Any]:
    """Return the document, ready to be written as JSON."""
    return {
        "ociVersionMin": _OLDEST,
        "ociVersionMax": VERSION,
        "hooks": [field.encode_name for field in msgspec.structs.fields(Hooks)],
        "mountOptions": sorted(KNOWN),
        "linux": _linux(),
        "annotations": {"org.wherry.version": __version__, **_library_version()},
        "potentiallyUnsafeConfigAnnotations": [*_OWN_ANNOTATIONS, SYSTEMD_PROPERTY],
    }


def _linux() -> dict[str, Any]:
    yes = {"enabled": True}
    return {
        "namespaces": sorted(get_args(NamespaceType)),
        "capabilities": [f"CAP_{one.name}" for one in capabilities.CAP],
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": yes,
        "selinux": yes,
        "intelRdt": {**yes, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": list(process.MEMORY_MODES), "flags": list(process.MEMORY_FLAGS)},
        "mountExtensions": {"idmap": yes},
        "netDevices": yes,
    }


def _seccomp() -> dict[str, Any]:
    if not seccomp.is_available():
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(seccomp.ACTIONS),
        "operators": sorted(seccomp.OPERATORS),
        "archs": sorted(f"SCMP_ARCH_{name}" for name in seccomp.ARCHITECTURES),
        "knownFlags": sorted(seccomp.KNOWN_FLAGS),
        "supportedFlags": sorted(filter(seccomp.is_supported, seccomp.KNOWN_FLAGS)),
    }


def _library_version() -> dict[str, str]:
    """What filters are compiled with; runc says it under the same name."""
    found = seccomp.library_version()
    return {} if found is None else {"io.github.seccomp.libseccomp.version": ".".join(map(str, found))}
