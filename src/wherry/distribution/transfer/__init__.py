"""Images between a registry and the image store: pull and push.

A *transfer* is one client's request. What it needs is fetched by *jobs*, of which there is one per layer however many
transfers wait for it. Each byte passes once: the network's bytes go to a file that the unpacking thread reads while it
grows, hashing and decompressing as it goes; so a slow disk never holds up a connection, a broken connection is taken
up where it broke, and memory does not depend on sizes.

Floors, lowest first: ``compress``, ``download``, ``lease``, ``progress``, ``resolver``, ``upload``; ``downloads``,
``push_queue``, ``refetch``, ``search``; ``artifacts``, ``layers``, ``push``; ``select_manifest``; ``pull``;
``service``.
"""
