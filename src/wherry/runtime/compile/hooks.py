"""Compile hooks: which are run on the way to the program, and in what form the others are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wherry.errors import InvalidInput
from wherry.oci import runtime_spec
from wherry.oci.runtime_spec import Hooks
from wherry.runtime.compile.manner import Manner
from wherry.runtime.hooks import Hook
from wherry.runtime.steps.hooks import AwaitHooks, RunHooks
from wherry.runtime.steps.namespaces import AwaitParent
from wherry.runtime.steps.step import Step

__all__ = ["hook_steps", "hook_values"]


def hook_steps(wanted: Hooks | None, manner: Manner) -> Iterator[Step]:
    """Those that are run when all is mounted, and nothing is hidden or read-only yet; see config.md, "Summary"."""
    if wanted is None or manner.state is None:
        return
    if wanted.prestart or wanted.create_runtime:
        yield AwaitParent()
        yield AwaitHooks()
    if wanted.create_container:
        yield RunHooks(tuple(hook_values("createContainer", wanted.create_container)), manner.state)


def hook_values(kind: str, wanted: Iterable[runtime_spec.Hook]) -> Iterator[Hook]:
    """Check hooks.

    :raises InvalidInput: a path is not absolute, a time not positive, or the like.
    """
    for one in wanted:
        if not one.path.startswith("/"):
            raise InvalidInput(f"the path {one.path!r} of a {kind} hook must be absolute")
        if one.timeout is not None and not 0 < one.timeout < 2**21:
            raise InvalidInput(f"the timeout {one.timeout} of a {kind} hook is no number of seconds")
        if any("\0" in text for text in (one.path, *one.args, *one.env)):
            raise InvalidInput(f"a {kind} hook contains a NUL byte")
        yield Hook(kind, one.path, one.args, one.env or None, one.timeout)
