"""The program ``wherryd``: flags, configuration file, listeners, signals.

Floors, lowest first: ``lock``, ``logs``, ``notify``, ``option``; ``network_options``; ``options``; ``background``,
``listeners``; ``startup``; ``aiohttp_server``, ``serve``; ``main``.

What is decided about containers does not belong here (``wherry.engine``), nor how a request is read (``wherry.api``).
"""
