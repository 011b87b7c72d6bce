"""The hooks of a container that are run after its creation, as its record has them."""

from __future__ import annotations

from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.ociruntime.container import Record
    from wherry.ociruntime.messages import Log

__all__ = ["run_here", "run_poststop"]


def run_here(record: Record, kind: str, status: str) -> None:
    """Run a container's hooks of one kind in this command's namespaces.

    :raises StepFailed: one has failed; those after it were not run.
    """
    if wanted := record.hooks.get(kind):
        from wherry.ociruntime.container import state_text  # noqa: PLC0415  few containers have hooks
        from wherry.runtime import hooks  # noqa: PLC0415

        hooks.run_all((hooks.Hook(*one) for one in wanted), state_text(record, status).encode())


def run_poststop(record: Record, log: Log) -> None:
    """Run the hooks that clean up: one that fails keeps no other from being run (runtime.md, "Lifecycle")."""
    if wanted := record.hooks.get("poststop"):
        from wherry.ociruntime.container import state_text  # noqa: PLC0415
        from wherry.runtime import hooks  # noqa: PLC0415

        state = state_text(record, "stopped").encode()
        for index, one in enumerate(wanted):
            try:
                hooks.run(hooks.Hook(*one), state, index)
            except WherryError as error:
                log.warn(str(error))
