"""The command ``wherry``: Docker's verbs and flags.

Each verb is one module in :mod:`wherry.cli.commands`, imported on demand. What the daemon could
know does not belong here, nor does HTTP (:mod:`wherry.client`).
"""
