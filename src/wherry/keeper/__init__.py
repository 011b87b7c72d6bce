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

The daemon's side is ``client``, ``log_reader``, ``tail`` and ``lines``; both use ``protocol``, ``packets`` and
``records``; all others are the keeper's side.

Floors, lowest first: ``exec_root``, ``launcher``, ``loop``, ``protocol``, ``records``, ``upgrade``; ``log_writer``,
``packets``; ``client``, ``connection``, ``log_reader``, ``runtime_launcher``, ``sink``; ``lines``, ``streams``,
``tail``; ``process``; ``leaving``, ``reaper``; ``arrivals``; ``processes``; ``keeper``; ``main``.

What does not belong here: asyncio, HTTP, images, restart policies, anything that decides what should run. The
keeper has to be so simple that it never needs to end, and so small that nobody minds it.
"""
