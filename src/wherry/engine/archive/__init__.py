"""Files into and out of containers: what is behind ``docker cp``.

A container's files are looked at in a detached copy of its mounts (`wherry.runtime.launch.view`), by descriptors and
with the kernel's word that no path leaves it. Nothing in here trusts a name twice.
"""
