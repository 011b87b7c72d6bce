"""A real systemd-journald, in a mount namespace of its own, takes what the log driver sends."""

from __future__ import annotations

import json
import subprocess
import sys

from support.needs import ROOT, need

pytestmark = need("root", "namespaces", "journald")

SCRIPT = """
set -e
mount --make-rprivate /
for directory in /run/systemd /run/log /var/log; do mkdir -p $directory; mount -t tmpfs tmpfs $directory; done
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald >/dev/null 2>&1 &
while ! test -S /run/systemd/journal/socket; do kill -0 $!; sleep 0.02; done
"$PYTHON" -c "$SEND"
while ! journalctl --no-pager -o json -a -D /run/log/journal CONTAINER_NAME=web | grep -q '"the last"'; do
    kill -0 $!; sleep 0.05
done
journalctl --no-pager -o json -a -D /run/log/journal CONTAINER_NAME=web
kill $!
wait $!
"""

SEND = """
import asyncio, pathlib
from support.log_receivers import subject
from wherry.engine.log_drivers.contract import Entries, Part
from wherry.engine.log_drivers.journald_sender import JournaldSender

async def send():
    env = ("BIG=" + "x" * 300_000, "LINES=1\\n2")
    sender = JournaldSender(subject(pathlib.Path("/"), "journald", env=env, env_regex="BIG|LINES", labels="tier"))
    await sender.open()
    two = Entries(1, 1_700_000_000_123_456_789, b"hello\\nworld\\n")
    cut = Entries(2, 1, b"cut", Part("id", 1, last=False))
    await sender.send(sender.encode([two, cut, Entries(1, 1, b"the last\\n")]))
    await sender.close()

asyncio.run(send())
"""


def test_the_journal_has_every_entry_with_its_fields() -> None:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHON": sys.executable, "SEND": SEND,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
    }  # fmt: skip
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["MESSAGE"] for entry in found] == ["hello", "world", "cut", "the last"]
    assert [entry["PRIORITY"] for entry in found] == ["6", "6", "3", "6"]
    assert found[0]["SYSLOG_TIMESTAMP"] == "2023-11-14T22:13:20.123456789Z"
    assert found[2]["CONTAINER_PARTIAL_MESSAGE"] == "true"
    for entry in found:
        assert (entry["CONTAINER_ID"], entry["IMAGE_NAME"], entry["TIER"]) == ("c0ffee000000", "app:1", "front")
        assert (entry["LINES"], len(entry["BIG"])) == ("1\n2", 300_000)
