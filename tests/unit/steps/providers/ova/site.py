"""A web server with several pages: files with configurable behaviour, redirects, a login."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.unit.steps.disk.server import Behaviour, Server, _Handler


@dataclass
class Page:
    """A file; if `login` (`user:password`) is set, only for clients that send it."""

    how: Behaviour
    login: str = ""
    after_cut: Any = None
    """The page that takes its place when a transfer was cut."""


@dataclass
class Busy:
    """So many answers that ask to wait, then another page."""

    then: Page
    retry_after: str
    answers: int = 1
    status: int = 429


@dataclass(frozen=True)
class Asked:
    path: str
    login: str | None
    window: str | None


class _Pages(_Handler):
    pages: ClassVar[dict[str, Any]]
    asked: ClassVar[list[Asked]]

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        page = self.pages.get(self.path, 404)
        login, window = self.headers.get("Authorization"), self.headers.get("Range")
        self.asked.append(Asked(self.path, login, window))
        self.close_connection = True
        if isinstance(page, Busy):
            page.answers -= 1
            if page.answers <= 0:  # before the answer: the client may ask again as soon as it has it
                self.pages[self.path] = page.then
            self.send_response(page.status)
            self.send_header("Retry-After", page.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif isinstance(page, str):
            self._empty(302, page)
        elif isinstance(page, int):
            self._empty(page)
        elif page.login and login != "Basic " + base64.b64encode(page.login.encode()).decode():
            self._empty(401)
        else:
            self._give(page)

    def _empty(self, status: int, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if location:
            self.send_header("Location", location)
        self.end_headers()

    def _give(self, page: Page) -> None:
        how = page.how
        how.asked.append(self.headers.get("Range"))
        body = self._head(how)
        cut = how.cuts.pop(0) if how.cuts else None
        if cut is not None and page.after_cut is not None:
            self.pages[self.path] = page.after_cut
        with contextlib.suppress(OSError):
            self._send(how, body[:cut], whole=cut is None)


class Site(Server):
    """`pages` by path: a file, the target of a redirect, or a status."""

    def __init__(
        self, pages: Mapping[str, Page | str | int | Busy], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(Behaviour(b""), tls)
        self.asked: list[Asked] = []
        self.RequestHandlerClass = type("Pages", (_Pages,), {"pages": pages, "asked": self.asked})
        self.base = self.url.removesuffix("/disk")
