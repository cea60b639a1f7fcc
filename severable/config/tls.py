"""The certificates with which deployments authenticate each other (mutual TLS).

A deployment's certificate names the deployment ("users"), not its addresses, which change. A client
without a certificate that the CA has signed gets no connection. Files are read when a process
starts: a rolling restart loads new ones, and while a CA is replaced TLS_CA contains both.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAMES = ("TLS_CERT", "TLS_KEY", "TLS_CA")


class TlsError(Exception):
    """The configured certificates cannot be used. The text names the entry."""


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the own certificate (with its chain to the CA), its key in PKCS#8, and
    the trusted CAs."""

    cert: str
    key: str
    ca: str

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of HTTP clients."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context

    def pem(self) -> tuple[bytes, bytes, bytes]:
        """Return the contents of certificate, key and CAs, for gRPC."""
        return (
            Path(self.cert).read_bytes(),
            Path(self.key).read_bytes(),
            Path(self.ca).read_bytes(),
        )


def certificates(environ: Mapping[str, str]) -> Certificates | None:
    """Return the files of TLS_CERT, TLS_KEY and TLS_CA; None if none is set. Raises TlsError."""
    given = [environ.get(name, "") for name in NAMES]
    if not any(given):
        return None
    for name, path in zip(NAMES, given, strict=True):
        if not path:
            raise TlsError(f"{name} must be set too: TLS needs {', '.join(NAMES)}")
        if not Path(path).is_file():
            raise TlsError(f"{name}: there is no file {path!r}")
    found = Certificates(*given)
    try:
        found.context()
    except ssl.SSLError as error:
        raise TlsError(f"{', '.join(NAMES)} do not fit together: {error.reason or error}") from None
    return found
