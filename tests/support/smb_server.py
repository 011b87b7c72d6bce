"""Samba's file server for one directory and one user, at its usual port: only for the virtual machine."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quiet import patience
from support.needs import program

USER = "root"
PASSWORD = "one,two"
"""It has a comma, which the options of a mount cannot have as it is."""

_CONFIGURATION = """
[global]
server role = standalone server
server min protocol = SMB2
passdb backend = tdbsam:{own}/passdb.tdb
private dir = {own}
lock directory = {own}
state directory = {own}
cache directory = {own}
pid directory = {own}
ncalrpc dir = {own}/ncalrpc
log file = {own}/log
smb ports = 445
disable netbios = yes
load printers = no
printing = bsd
host msdfs = no

[share]
path = {directory}
read only = no
"""


@contextmanager
def shared(directory: Path, own: Path) -> Iterator[None]:
    """Serve a directory as ``//localhost/share``.

    :param own: an empty directory for what the server writes.
    """
    configuration = own / "smb.conf"
    configuration.write_text(_CONFIGURATION.format(own=own, directory=directory))
    add = [program("smbpasswd") or "smbpasswd", "-c", str(configuration), "-s", "-a", USER]
    subprocess.run(add, input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True)
    with (own / "out").open("wb") as out:
        server = subprocess.Popen(
            [program("smbd") or "smbd", "-s", str(configuration), "-F", "--debug-stdout"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_for(server, own)
        yield
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], own: Path) -> None:
    end = time.monotonic() + patience(30)
    while time.monotonic() < end:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", 445)) == 0:
                return
        assert server.poll() is None, (own / "out").read_text(errors="replace")
        time.sleep(0.1)
    raise TimeoutError((own / "out").read_text(errors="replace"))
