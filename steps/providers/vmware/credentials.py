"""The source's credentials, read from the files of its secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from steps.contract import Exit, StepError


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Who logs in, and what the secret says about the server's certificate."""

    username: str
    password: str = field(repr=False)
    ca: str = ""
    """PEM certificates, one or more."""
    thumbprint: str = ""

    @classmethod
    def read(cls, folder: Path) -> Credentials:
        """Read the keys `username`, `password` and, where there, `caCert` and `thumbprint`.

        Raises:
            StepError: INVALID, naming the key that is missing, empty or no text.
        """
        return cls(
            username=_required(folder, "username").strip(),
            password=_required(folder, "password"),
            ca=_text(folder, "caCert").strip(),
            thumbprint=_text(folder, "thumbprint").strip(),
        )


def _required(folder: Path, key: str) -> str:
    value = _text(folder, key)
    if not value.strip():
        raise StepError(
            Exit.INVALID,
            f"the source's secret has no {key}",
            f"the key {key} is missing or empty",
            f"set {key} in the secret",
        )
    return value


def _text(folder: Path, key: str) -> str:
    """The key's value without the newline that editors and `echo` put at its end; empty when not there."""
    try:
        text = (folder / key).read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise StepError(
            Exit.INVALID, f"the key {key} of the source's secret is no text", "it is not UTF-8"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
