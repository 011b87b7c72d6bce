"""The certificates for a daemon that listens on TCP."""

from __future__ import annotations

import os

from wherry.client.address import TLSFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags.parser import Options

__all__ = ["tls_files"]


def tls_files(options: Options | None) -> TLSFiles | None:
    """Read the flags ``--tls...``, and the variables ``*_CERT_PATH`` and ``*_TLS_VERIFY`` of wherry and of docker.

    :returns: None when TLS is not requested.
    """
    said = _variable("CERT_PATH")
    verify = bool(_variable("TLS_VERIFY")) or bool(options and options["tlsverify"])
    if not (verify or os.environ.get("WHERRY_CERT_PATH") or (options and (options["tls"] or options["tlscacert"]))):
        return None
    from wherry.cli.config_file import config_folder

    folder = said or config_folder()

    def choose(flag: str, name: str) -> str | None:
        given = str(options[flag]) if options else ""
        default = os.path.join(folder, name)
        return given or (default if os.path.exists(default) else None)

    loose = bool(options and options["tls"]) and not verify
    return TLSFiles(
        choose("tlscacert", "ca.pem"), choose("tlscert", "cert.pem"), choose("tlskey", "key.pem"), verify=not loose
    )


def _variable(name: str) -> str:
    return os.environ.get(f"WHERRY_{name}") or os.environ.get(f"DOCKER_{name}") or ""
