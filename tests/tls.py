"""Self-signed certificates of the tests' own servers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


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
    """Make NAME.crt and NAME.key in `folder`; `shown_for` is `DNS:` with a name, or `IP:` with an address."""
    made = SelfSigned(folder / f"{name}.crt", folder / f"{name}.key")
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_shown(shown_for)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def serving_folder(folder: Path, shown_for: str = "IP:127.0.0.1") -> Path:
    """A folder as the Secret of `serve.tls.secret`: tls.crt, tls.key and ca.crt."""
    folder.mkdir()
    made = self_signed(folder, "tls", shown_for)
    (folder / "ca.crt").write_text(made.pem)
    return folder


def _shown(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    return x509.DNSName(value) if kind == "DNS" else x509.IPAddress(ip_address(value))
