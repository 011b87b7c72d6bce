"""The Docker Engine API: JSON and streams in and out.

Every file of ``routes`` is about one object of the API (containers, exec, images ...): it reads the request, calls the
engine through a narrow Protocol of its own, and writes the answer. Nothing is decided here, and no kernel interface is
touched.

Floors, lowest first: ``http``; ``classic``; ``routes``; ``app``. :func:`wherry.api.app.make_api` builds the whole from
an engine; :mod:`wherry.api.http.routing` finds the handler; :mod:`wherry.api.http.hijack` takes a connection out of
HTTP.
"""
