"""Self-signed certificates of the tests' own servers."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SelfSigned:
    """A certificate that is its own CA, and its key; both are PEM files."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()

    def server(self) -> ssl.SSLContext:
        """The server-side context with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def self_signed(
    folder: Path, name: str = "server", shown_for: str = "DNS:localhost", days: int = 2
) -> SelfSigned:
    """Make NAME.crt and NAME.key in `folder`; `shown_for` is a subjectAltName as openssl(1) takes it."""
    made = SelfSigned(folder / f"{name}.crt", folder / f"{name}.key")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={shown_for}", "-days", str(days)]
    argv += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    return made
