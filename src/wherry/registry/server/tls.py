"""The server's TLS certificate."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from wherry.registry.server.settings import Tls

__all__ = ["renew_certificate", "tls_context"]


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The server's TLS context.

    :raises InvalidInput: the files can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # SSLError is one
        raise InvalidInput("unable to use the TLS certificates", cause=str(error)) from error
    return context


def renew_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    """Read the certificate once more; connections that are open keep what they have seen.

    :raises InvalidInput: the files can't be used; the context has what it had.
    """
    tls_context(tls)  # where certificate and key don't fit, a context would keep the one without the other
    context.load_cert_chain(tls.certificate, tls.key)
