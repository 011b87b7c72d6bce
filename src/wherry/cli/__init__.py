"""The command ``wherry``: Docker's verbs and flags for people's fingers.

Each verb is one module in :mod:`wherry.cli.commands`, imported when it is typed. Whatever the daemon could
know does not belong here, nor does HTTP (:mod:`wherry.client`).
"""
