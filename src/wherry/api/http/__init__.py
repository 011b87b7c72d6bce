"""HTTP, without any object of the API: connections, requests and their values, routing, answers, errors, versions.

Floors, lowest first: ``versions``, ``gosyntax``, ``connection``, ``bodies``; ``gojson``, ``hijack``, ``older``;
``query``, ``lineframes``, ``answers``; ``request``, ``errors``; ``routing``, ``compat``, ``progress``; ``server``.

What an operation does does not belong here (``wherry.api.routes``).
"""
