"""The daemon's aiohttp is a server until somebody needs the client; then it is whole."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys, threading
from wherry.daemon.aiohttp_server import defer_client

defer_client()
import wherry.daemon.serve
assert "aiohttp.web_server" in sys.modules
for name in ("client", "connector", "web", "cookiejar"):
    assert f"aiohttp.{name}" not in sys.modules, name
import aiohttp
found, together = [], threading.Barrier(8)
def use(name):
    together.wait()
    found.append(getattr(aiohttp, name))
names = ("ClientSession", "web", "TCPConnector", "ClientTimeout") * 2
threads = [threading.Thread(target=use, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
import aiohttp.client, aiohttp.web
assert len(found) == 8 and len(set(found)) == 4, found
assert aiohttp.ClientSession is aiohttp.client.ClientSession
assert aiohttp.web.Response is aiohttp.web_response.Response
try:
    aiohttp.nothing_like_it
except AttributeError as error:
    assert "nothing_like_it" in str(error)
else:
    raise AssertionError
assert aiohttp.__version__ and sys.modules["aiohttp"] is aiohttp and aiohttp.client.__package__ == "aiohttp"
"""


def test_the_daemon_has_no_client_of_http_until_it_needs_one_and_many_threads_may_need_it_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
