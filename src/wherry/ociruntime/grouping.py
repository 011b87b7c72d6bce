"""Whether a container gets a control group: who is no root may not be able to make one."""

from __future__ import annotations

import posixpath

from msgspec.structs import replace

from wherry.errors import Forbidden
from wherry.oci.runtime_spec import Linux, Resources, Spec
from wherry.ociruntime.call import Call
from wherry.runtime import cgroups
from wherry.runtime.compile.spec import cgroup_path
from wherry.runtime.plan import Plan

__all__ = ["with_group", "without_devices"]


def with_group(call: Call, spec: Spec, name: str) -> tuple[Spec, bool]:
    """Choose a container's control group; returns the specification with it, and whether there is any.

    runc's rules: where a user has named none, it is beside the one that this command is in, with version 2; and who may
    make none does without, unless limits are asked for. Its processes stay in that of this command then.

    :raises Forbidden: they are.
    """
    linux = spec.linux or Linux()
    if not call.groups:
        return spec, False
    if call.systemd or not call.is_rootless or linux.cgroups_path or cgroups.may_make(cgroup_path(linux, name)):
        return spec, True
    if (path := _beside_ours(name)) and cgroups.may_make(path):
        return replace(spec, linux=replace(linux, cgroups_path=path)), True
    wanted, none = linux.resources or Resources(), Resources()
    for limit in Resources.__struct_fields__:
        if limit != "devices" and getattr(wanted, limit) != getattr(none, limit):
            # runc's words, which callers know.
            raise Forbidden(f"cannot set {limit} limit: container could not join or create cgroup")
    return spec, False


def _beside_ours(name: str) -> str:
    """The place beside the control group of this process, which has processes and so cannot have others in it."""
    if cgroups.hierarchies().version != 2:
        return ""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        ours = next((line[3:].rstrip("\n") for line in file if line.startswith("0::/")), "")
    above = posixpath.dirname(ours)
    return f"{above}/{name}" if above.strip("/") and not above.startswith("/..") else ""


def without_devices(plan: Plan) -> Plan:
    """Leave out the rules for devices, which only root may set: in a user namespace no device can be made."""
    if not plan.resources:
        return plan
    return plan._replace(resources={name: value for name, value in plan.resources.items() if name != "devices"})
