"""On cgroup version 2 a process is born in its group: its child is made when the plan has come."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.needs import need
from support.runtime_harness import Box, finish
from wherry.runtime import cgroups
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch import launch
from wherry.runtime.launch.prefork import Prefork
from wherry.runtime.launch.spare import Handed
from wherry.runtime.plan import Plan

pytestmark = [need("root", "busybox", "overlay", "namespaces", "cgroup2"), pytest.mark.usefixtures("patient")]


@pytest.mark.parametrize("vfork", [True, False], ids=["vfork server", "zygote"])
def test_a_child_is_made_for_its_plan_and_born_in_its_group(box: Box, vfork: bool) -> None:
    prefork = Prefork(vfork=vfork)
    plan = Plan.decode(compile_spec(box.spec("echo fine"), container_id=f"born{os.urandom(4).hex()}").encode())
    try:
        assert finish(plan, prefork).out == "fine\n"
        prefork.fill()
        assert not prefork.spares, "it would be in a group already"
        assert prefork.source is not None
        for _ in range(2):
            assert finish(plan, prefork).out == "fine\n"
        group = cgroups.open(plan.cgroup)
        group.create(cgroups.Resources())
        with group.open_dir_fd() as directory, open(os.devnull, "r+b") as null:
            spare = prefork.take(plan, plan.encode(), Handed((null.fileno(),) * 3, None, (), None), directory)
            assert spare is not None
            assert Path(f"/proc/{spare.pid}/cgroup").read_text().strip().endswith(plan.cgroup)
            spare.end()
    finally:
        prefork.drain()
        launch.cleanup(plan)


def test_a_child_that_gets_no_time_on_a_processor_holds_up_nobody(box: Box) -> None:
    prefork = Prefork()
    plan = Plan.decode(compile_spec(box.spec("echo fine"), container_id=f"born{os.urandom(4).hex()}").encode())
    try:
        assert finish(plan, prefork).out == "fine\n"
        prefork.fill()
        group = cgroups.open(plan.cgroup)
        group.create(cgroups.Resources())
        Path(group.paths()[""], "cgroup.freeze").write_text("1")
        with group.open_dir_fd() as directory, open(os.devnull, "r+b") as null:
            spare = prefork.take(plan, plan.encode(), Handed((null.fileno(),) * 3, None, (), None), directory)
        assert spare is not None, "it was waited for, in vain"
        spare.end()
    finally:
        prefork.drain()
        launch.cleanup(plan)
