"""The kernel's NFS server, version 4, for one directory, without the programs that usually look after it.

What the server asks them (who a client is, what it may have) is written into its tables beforehand, so there is nobody
to be asked. It is the whole machine's: only for the virtual machine.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTROL = Path("/proc/fs/nfsd")
TABLES = Path("/proc/net/rpc")
RECOVERY = Path("/var/lib/nfs/v4recovery")  # without it the server cannot tell that no former clients come back
CLIENTS = "tests"  # what the server calls whoever comes from this machine
ADDRESS = "127.0.0.1"
#: Flags of an export: any port, asynchronous, no check of parent directories, known by a number. Root stays root.
FLAGS = 0x0002 | 0x0010 | 0x0400 | 0x2000
NOBODY = 65534


@contextmanager
def exported(directory: Path) -> Iterator[None]:
    """Serve a directory as ``/`` to this machine."""
    subprocess.run(["modprobe", "nfsd"], check=True)
    subprocess.run(["mount", "-t", "nfsd", "nfsd", str(CONTROL)], check=True)
    try:
        RECOVERY.mkdir(parents=True, exist_ok=True)
        _allow(directory)
        tell("versions", "-2 -3 +4")
        tell("nfsv4leasetime", "10")
        tell("nfsv4gracetime", "10")
        tell("portlist", "tcp 2049")
        tell("threads", "2")
        tell("v4_end_grace", "Y")  # nobody has anything of a former server to claim
        yield
    finally:
        tell("threads", "0")
        subprocess.run(["umount", str(CONTROL)], check=True)


def tell(name: str, text: str) -> None:
    """Set one of the server's switches."""
    (CONTROL / name).write_text(f"{text}\n")


def _allow(directory: Path) -> None:
    until = int(time.time()) + 86400
    rows = {
        "auth.unix.ip": f"nfsd {ADDRESS} {until} {CLIENTS}",
        "nfsd.export": f"{CLIENTS} {directory} {until} {FLAGS} {NOBODY} {NOBODY} 0",
        "nfsd.fh": rf"{CLIENTS} 1 \x00000000 {until} {directory}",
    }
    for table, row in rows.items():
        (TABLES / table / "channel").write_text(f"{row}\n")
