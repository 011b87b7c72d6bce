"""The fake network of tests is as the real one: the list of expectations that the real one is under as well."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from support.fake_network import FakeReconciler, fake_controller
from support.network_conformance import EXPECTATIONS
from wherry.network.controller import Controller
from wherry.network.kernel_state.reconciler import Reconciler


@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=lambda one: one.__name__)
async def test_the_fake_network_conforms(expectation: Callable[[Controller], Awaitable[None]], tmp_path: Path) -> None:
    controller = fake_controller(tmp_path)
    try:
        await expectation(controller)
    finally:
        await controller.close()


def test_the_fake_kernel_has_all_that_a_controller_without_prepared_sandboxes_asks_for() -> None:
    source = inspect.getsource(Controller)
    used = set(re.findall(r"self\._reconciler\.(\w+)", source))
    of_the_real_kernel = {"create_namespace", "create_spare", "deposit", "remove_everything"}
    assert used - of_the_real_kernel <= {*dir(FakeReconciler), "warning"}
    for name in used - of_the_real_kernel - {"warning"}:
        fake, real = (inspect.signature(getattr(kind, name)) for kind in (FakeReconciler, Reconciler))
        assert list(fake.parameters) == list(real.parameters), name
