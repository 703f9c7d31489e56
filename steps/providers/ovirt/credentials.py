"""The source's credentials, read from the files of its secret."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from steps.runtime import secret

CA_KEYS: Final = ("caCert", "ca.cert")
"""The keys of the CA's certificates: as in a VmwareSource, and as in the secrets of the v2v importer."""
_BEGIN: Final = "-----BEGIN"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The login, and the CA to trust."""

    username: str
    """With the profile: `admin@internal`, or `admin@ovirt@internalsso` with Keycloak."""
    password: str = field(repr=False)
    ca: str = ""
    """PEM certificates, one or more."""

    @classmethod
    def read(cls, folder: Path) -> Credentials:
        """Read the keys `username`, `password` and, where there, one of `CA_KEYS`.

        Raises:
            StepError: INVALID, naming the key that is missing, empty or not text.
        """
        authorities = (secret.read_text(folder, key).strip() for key in CA_KEYS)
        return cls(
            username=secret.read_required(folder, "username").strip(),
            password=secret.read_required(folder, "password"),
            ca=_pem(next(filter(None, authorities), "")),
        )


def _pem(text: str) -> str:
    """PEM certificates, also if they are written in base64 once more, as people do for a Secret."""
    if not text or _BEGIN in text:
        return text
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return text  # `certificates.tls_context` explains what is wrong
    return decoded if _BEGIN in decoded else text
