"""The source's credentials, read from the files of its secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from steps.runtime import secret


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The login, and the secret's data about the server's certificate."""

    username: str
    password: str = field(repr=False)
    ca: str = ""
    """PEM certificates, one or more."""
    thumbprint: str = ""

    @classmethod
    def read(cls, folder: Path) -> Credentials:
        """Read the keys `username`, `password` and, where there, `caCert` and `thumbprint`.

        Raises:
            StepError: INVALID, naming the key that is missing, empty or not text.
        """
        return cls(
            username=secret.read_required(folder, "username").strip(),
            password=secret.read_required(folder, "password"),
            ca=secret.read_text(folder, "caCert").strip(),
            thumbprint=secret.read_text(folder, "thumbprint").strip(),
        )
