"""The parent of containers: it clones them, waits for them, and appends their output to log segments.

Words used here with one meaning each:

process
    a container's first process, or an exec'd one; named by its *key* (container ID or exec ID).
log
    a directory of numbered *segments*; a segment is a file of *blocks*; a block holds whole *records*.
position
    a place in a log: segment number and byte offset.
exit
    how a process ended; kept on disk until it is *forgotten* by the daemon's wish.

The keeper's side is ``main``, ``service``, ``process``, ``streams``, ``sink``, ``logs``, ``loop``, ``connection``; the
daemon's side is ``client``, ``logreader``, ``tail`` and ``lines``; both use ``protocol``, ``packets`` and ``records``.

What does not belong here: asyncio, HTTP, images, restart policies, anything that decides what should run. The
keeper has to be so simple that it never needs to end, and so small that nobody minds it.
"""
