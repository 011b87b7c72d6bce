"""``--init``: the container's first process takes care of orphans and passes signals on.

Set by the annotation ``org.wherry.init`` of a specification (:data:`ANNOTATION`, value ``"true"``). No foreign
program is put into the container: the first process is the trampoline (:mod:`~wherry.runtime.steps.birth`), with the
program's user, capabilities and filter, no descriptor at all, an empty environment, and in its memory nothing but
what it was started for.

It waits for signals only, so it needs no processor time; it ends when the program does, with its exit code, or 128 and
the number of the signal.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ANNOTATION"]

ANNOTATION: Final = "org.wherry.init"
