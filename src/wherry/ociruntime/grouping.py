"""Whether a container gets a control group: who is no root may not be able to make one."""

from __future__ import annotations

from wherry.errors import Forbidden
from wherry.oci.runtime_spec import Linux, Resources, Spec
from wherry.ociruntime.call import Call
from wherry.runtime import cgroups
from wherry.runtime.compile.spec import cgroup_path
from wherry.runtime.plan import Plan

__all__ = ["is_grouped", "without_devices"]


def is_grouped(call: Call, spec: Spec, name: str) -> bool:
    """Whether a container gets a control group of its own; otherwise its processes stay in that of this command.

    runc's rule: a user who has named none, and may make none, does without, unless limits are asked for.

    :raises Forbidden: they are.
    """
    linux = spec.linux or Linux()
    if not call.groups:
        return False
    if call.systemd or not call.is_rootless or linux.cgroups_path or cgroups.may_make(cgroup_path(linux, name)):
        return True
    wanted, none = linux.resources or Resources(), Resources()
    for limit in Resources.__struct_fields__:
        if limit != "devices" and getattr(wanted, limit) != getattr(none, limit):
            # runc's words, which callers know.
            raise Forbidden(f"cannot set {limit} limit: container could not join or create cgroup")
    return False


def without_devices(plan: Plan) -> Plan:
    """Leave out the rules for devices, which only root may set: in a user namespace no device can be made."""
    if not plan.resources:
        return plan
    return plan._replace(resources={name: value for name, value in plan.resources.items() if name != "devices"})
