"""Which certificates are trusted: TLS contexts, thumbprints."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from typing import Any, Final

from steps.model.contract import Exit, StepError

_DIGESTS: Final = {40: "sha1", 64: "sha256"}
"""Algorithms of thumbprints, by their length in hexadecimal digits: vSphere prints both."""
_CONNECT_SECONDS: Final = 10.0


def tls_context(
    *, ca: str = "", thumbprint: str = "", insecure: bool = False, key: str = "caCert"
) -> ssl.SSLContext:
    """The TLS context for a server with these settings.

    A thumbprint identifies one certificate, so it decides alone: CA and host name are not checked.
    Without one, the chain is verified against `ca` (PEM) or, when that is empty, the system's roots.

    `key` is the secret's key that holds `ca`, for the error message.

    Raises:
        StepError: INVALID when the thumbprint or the PEM text is malformed.
    """
    if insecure:
        return _unverified_context()
    if thumbprint:
        return pinned_context(thumbprint)
    return _verified_context(ca, key)


def pinned_context(thumbprint: str) -> ssl.SSLContext:
    """A context that trusts only the leaf certificate with that SHA-1 or SHA-256 thumbprint.

    Raises:
        StepError: INVALID when it is not such a thumbprint.
    """
    expected = normalize_thumbprint(thumbprint)
    # No chain is needed: the handshake below compares the certificate itself.
    tls_context = _unverified_context()
    tls_context.sslsocket_class = _pinned_socket_class(expected)
    return tls_context


def normalize_thumbprint(thumbprint: str) -> str:
    """Lower-case hexadecimal digits, no colons. Raises StepError: INVALID."""
    digits = thumbprint.replace(":", "").replace(" ", "").lower()
    if len(digits) not in _DIGESTS or set(digits) - set("0123456789abcdef"):
        raise StepError(
            Exit.INVALID,
            f"the thumbprint {thumbprint!r} cannot be used",
            "it is neither a SHA-1 (40 digits) nor a SHA-256 (64 digits) thumbprint",
        )
    return digits


def presented_thumbprint(host: str, port: int) -> str:
    """The SHA-256 thumbprint of the certificate that the server presents, for an error message; or "".

    Nothing is sent over this connection, so the certificate need not be genuine.
    """
    try:
        pem = ssl.get_server_certificate((host, port), timeout=_CONNECT_SECONDS)
    except OSError:
        return ""
    digits = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _verified_context(ca: str, key: str) -> ssl.SSLContext:
    try:
        tls_context = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError) as error:
        raise StepError(
            Exit.INVALID,
            f"the key {key} of the source's secret cannot be used",
            str(error),
            "put PEM certificates there, BEGIN and END lines included",
        ) from None
    # Certificates of vCenter's own CA lack the key identifiers that Python 3.13 requires.
    tls_context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    if ca:  # a user who supplies a certificate trusts it, root or not
        tls_context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return tls_context


def _unverified_context() -> ssl.SSLContext:
    tls_context = ssl.create_default_context()
    tls_context.check_hostname = False
    tls_context.verify_mode = ssl.CERT_NONE
    return tls_context


def _pinned_socket_class(expected: str) -> type[ssl.SSLSocket]:
    """A socket whose handshake fails unless the peer presents the certificate with that digest.

    Checked in the handshake, before any request is sent, and for every user of the context:
    http.client, pyvmomi and the disk path (Python's ssl module, SSLContext.sslsocket_class).
    """

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            actual = hashlib.new(
                _DIGESTS[len(expected)], self.getpeercert(binary_form=True) or b""
            ).hexdigest()
            if not hmac.compare_digest(actual, expected):
                raise mismatch_error(actual)

    return PinnedSocket


def mismatch_error(actual: str) -> ssl.SSLCertVerificationError:
    """The error for a certificate other than the pinned one."""
    error: Any = ssl.SSLCertVerificationError(1, "the certificate does not match the given thumbprint")
    error.verify_message = f"its thumbprint is {actual}, not the given one"
    certificate_error: ssl.SSLCertVerificationError = error
    return certificate_error
