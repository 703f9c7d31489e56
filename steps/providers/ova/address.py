"""The address of the archive, parsed from the user's input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from steps.model.contract import Exit, StepError

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A URL: http, https, or file with an absolute path."""

    url: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse a URL, or a local path.

        Raises:
            StepError: INVALID if it is neither, or contains credentials.
        """
        text = text.strip()
        if "://" not in text:
            if not text.startswith("/"):
                raise _invalid(text, "it is neither a URL nor an absolute path")
            return cls(f"file://{quote(text)}")
        url = parse_url(_with_escaped_blanks(text))
        if url.scheme == "file":
            if url.netloc not in ("", "localhost"):
                raise _invalid(text, f"a file on {url.netloc} cannot be read from here")
            return cls(f"file://{url.path}")
        if url.username is not None or url.password is not None:
            raise _invalid("given", "it holds a user name; credentials belong in the secret")
        return cls(url._replace(fragment="").geturl())

    @property
    def path(self) -> Path | None:
        """The local path, of a file URL."""
        url = urlsplit(self.url)
        return Path(unquote(url.path)) if url.scheme == "file" else None

    def __str__(self) -> str:
        """The URL for messages: the part after a question mark is often a secret."""
        return str(self.path or urlsplit(self.url)._replace(query="").geturl())


def _with_escaped_blanks(text: str) -> str:
    """A URL whose path may have blanks, as browsers and curl accept it; its host may not."""
    scheme, separator, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host + slash + path.replace(" ", "%20")


def parse_url(text: str) -> SplitResult:
    """Parse a URL that has a host.

    Raises:
        StepError: INVALID, also for other schemes than http, https and file.
    """
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise _invalid(text, str(error)) from None
    if url.scheme not in (*_DEFAULT_PORTS, "file"):
        raise _invalid(text, f"the scheme {url.scheme or '(none)'} is not supported")
    if url.scheme != "file" and not url.hostname:
        raise _invalid(text, "it has no host")
    # http.client would put such a character into the head of its request.
    if any(ord(char) <= 32 or ord(char) == 127 for char in text):
        raise _invalid(text, "it contains a space or a control character")
    return url


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port, to which credentials may be sent (RFC 6454)."""
    parts = parse_url(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _invalid(text: str, why: str) -> StepError:
    return StepError(
        Exit.INVALID,
        f"the URL {text!r} cannot be used",
        why,
        "write it as https://HOST/PATH/MACHINE.ova in the source",
    )
