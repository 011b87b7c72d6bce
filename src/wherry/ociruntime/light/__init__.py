"""Small modules in place of large ones, for a command that is started for every step of a container's life.

Most of the time of a ``run`` went into importing `typing`, `enum`, `re`, `socket`, `json`, `msgspec` and what these
import; what the runtime uses of them fits on a page each. This directory comes first on the path of the
script ``./wherry-oci``, for the verbs that are called most (:mod:`wherry.ociruntime.entry`); everything else, the tests
and the daemon among it, has the modules themselves.

What is not in here is not used on that way. A module that needs it after all says so by `NeedsAll`
(:mod:`wherry.ociruntime.light.re`), and the command starts over with the modules themselves.
"""
