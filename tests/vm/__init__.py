"""A virtual machine to run tests in: another kernel, and cgroup v2 only.

Debian's cloud kernel in qemu's software emulation, with this machine's Python, its virtual environment and a few
programs as the root file system. Nothing is mounted on the machine that builds it.
"""
