"""The certificates for a daemon that listens on TCP."""

from __future__ import annotations

import os

from wherry.client.address import TLSFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags.parser import Options

__all__ = ["tls_files"]


def tls_files(options: Options | None) -> TLSFiles | None:
    """Read the flags ``--tls...`` and the variables ``WHERRY_CERT_PATH`` and ``WHERRY_TLS_VERIFY``.

    :returns: None when TLS is not requested.
    """
    folder = os.environ.get("WHERRY_CERT_PATH", "")
    verify = bool(os.environ.get("WHERRY_TLS_VERIFY")) or bool(options and options["tlsverify"])
    if not (verify or folder or (options and (options["tls"] or options["tlscacert"]))):
        return None

    def choose(flag: str, name: str) -> str | None:
        said = str(options[flag]) if options else ""
        default = os.path.join(folder, name) if folder else ""
        return said or (default if default and os.path.exists(default) else None)

    loose = bool(options and options["tls"]) and not verify
    return TLSFiles(
        choose("tlscacert", "ca.pem"), choose("tlscert", "cert.pem"), choose("tlskey", "key.pem"), verify=not loose
    )
