"""The address of the vSphere API, parsed from the user's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from steps.model.contract import Exit, StepError

SDK: Final = "/sdk"
"""Where vCenter and ESXi serve their SOAP API (vSphere Web Services SDK Programming Guide)."""
_PAGES: Final = ("", "/ui")
"""Paths that users copy from their browser; the API is at /sdk anyway."""


@dataclass(frozen=True)
class Endpoint:
    """Host, port and path of a vSphere API."""

    host: str
    port: int = 443
    path: str = SDK

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{self.path}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `https://host:port/sdk`, `https://host` or `host`.

        Raises:
            StepError: INVALID if it is not an https address, or contains credentials.
        """
        url, port = _split(text)
        if url.scheme != "https" or not url.hostname:
            raise _invalid(text, "it is not an https address")
        if url.username is not None:
            raise _invalid("given", "it holds a user name; credentials belong in the secret")
        path = url.path.rstrip("/")
        return cls(url.hostname, port, SDK if path in _PAGES else path)


def _split(text: str) -> tuple[SplitResult, int]:
    text = text.strip()
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        port = url.port or 443
    except ValueError as error:
        raise _invalid(text, str(error)) from None
    return url, port


def _invalid(text: str, why: str) -> StepError:
    return StepError(
        Exit.INVALID,
        f"the endpoint {text!r} cannot be used",
        why,
        "write it as https://HOST/sdk in the source",
    )
