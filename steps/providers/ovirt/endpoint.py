"""The address of an oVirt engine, parsed from the user's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from steps.model.contract import Exit, StepError

ENGINE: Final = "/ovirt-engine"
"""Where the engine serves its pages, its login and its API (oVirt REST API guide)."""
API: Final = "/api"


@dataclass(frozen=True)
class Endpoint:
    """Host, port and base path of an engine."""

    host: str
    port: int = 443
    base: str = ENGINE

    def __str__(self) -> str:
        return self._host if self.port == 443 else f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def url(self, path: str, port: int | None = None) -> str:
        """The whole address of an absolute path at this host."""
        return f"https://{self._host}:{port or self.port}{path}"

    @property
    def api(self) -> str:
        """The path of the API."""
        return self.base + API

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `https://host:port/ovirt-engine/api`, `https://host/ovirt-engine`, `https://host` or `host`.

        Raises:
            StepError: INVALID if it is not an https address, or contains credentials.
        """
        url, port = _split(text)
        if url.username is not None:
            raise _invalid("given", "it holds a user name; credentials belong in the secret")
        if url.scheme != "https" or not url.hostname:
            raise _invalid(repr(text), "it is not an https address")
        path = url.path.rstrip("/")
        return cls(url.hostname, port, path.removesuffix(API) or ENGINE)


def _split(text: str) -> tuple[SplitResult, int]:
    text = text.strip()
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        port = url.port or 443
    except ValueError as error:
        raise _invalid(repr(text), str(error)) from None
    return url, port


def _invalid(text: str, why: str) -> StepError:
    return StepError(
        Exit.INVALID,
        f"the endpoint {text} cannot be used",
        why,
        "write it as https://HOST/ovirt-engine/api in the source",
    )
