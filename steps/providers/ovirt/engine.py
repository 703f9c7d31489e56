"""An oVirt engine: log in, ask, change. Its API is asked for JSON.

The token ends after a time without use (UserSessionTimeOutInterval of the engine, 30 minutes): an answer 401
gets a new one, once.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import structlog

from steps.disk.http_client import HttpClient
from steps.model.contract import Exit, StepError
from steps.providers import Access, json_call
from steps.providers.ovirt import faults
from steps.providers.ovirt.answers import Answer, unusable
from steps.providers.ovirt.credentials import Credentials
from steps.providers.ovirt.endpoint import Endpoint
from steps.runtime import certificates, retry
from steps.runtime.stop import Stop

log = structlog.get_logger()

ANSWER_SECONDS: Final = 120.0
"""Seconds within which the whole answer to one call must arrive. Long work shows as a status."""
PAGE: Final = 100
"""VMs in one page of a list. A VM has about 10 KiB."""
MOST_PAGES: Final = 1000
_NOT_IN_MARK: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_MARK: Final = 50
"""Characters of a Correlation-Id (ENG CurrentFilter)."""
_SCOPE: Final = "ovirt-app-api"
_OLDEST: Final = (4, 4)
"""Before, the image proxy needed a signed ticket, and transfers knew neither a format nor a time-out
policy."""


@dataclass(frozen=True)
class Ports:
    """The ports of ovirt-imageio."""

    host: int
    """On the hosts: ImageDaemonPort of the engine."""
    proxy: int
    """On the engine, as a proxy."""


@dataclass(kw_only=True)
class Engine:
    """A logged-in engine."""

    endpoint: Endpoint
    tls: ssl.SSLContext
    insecure: bool
    stop: Stop
    credentials: Credentials = field(repr=False)
    ports: Ports
    mark: str
    """Names the run and the step in the events of the engine (header Correlation-Id)."""
    token: str = field(default="", repr=False)

    def unstoppable(self) -> Engine:
        """The same engine for calls that must be made although the step was asked to stop."""
        return replace(self, stop=Stop())

    def read(self, what: str, path: str, **query: str) -> Answer:
        """The answer to GET, repeated if the connection breaks. `path` is below the API, such as `/vms`.

        Raises:
            StepError: its text begins with `cannot` and `what`.
        """
        target = self.endpoint.api + path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        for attempt in retry.attempts(self.stop, faults.is_transient):
            with attempt:
                return self._call(f"cannot {what}", "GET", target, None)
        raise AssertionError  # attempts() either succeeds or raises

    def find(self, what: str, path: str, **query: str) -> Answer | None:
        """As `read`; None if the object does not exist."""
        try:
            return self.read(what, path, **query)
        except StepError as error:
            if faults.is_not_found(error):
                return None
            raise

    def pages(self, what: str, path: str, item: str, search: str = "", **query: str) -> Iterator[Answer]:
        """All elements of a long list, page by page (`page N` in the search, and `max`)."""
        for page in range(1, MOST_PAGES + 1):
            words = f"{search} page {page}".strip()
            elements = self.read(what, path, search=words, max=str(PAGE), **query).elements(item)
            yield from elements
            if len(elements) < PAGE:
                return
            self.stop.check()
        raise unusable(f"the list {path} does not end")

    def change(
        self, what: str, path: str, document: Mapping[str, Any], *, method: Literal["POST", "PUT"] = "POST"
    ) -> Answer:
        """The answer to a change, which is sent once: after a lost answer only a read shows its effect."""
        body = json.dumps(document).encode()
        return self._call(f"cannot {what}", method, self.endpoint.api + path, body)

    def delete(self, what: str, path: str) -> None:
        """Delete an object, or a relation to one."""
        self._call(f"cannot {what}", "DELETE", self.endpoint.api + path, None)

    def log_in(self) -> None:
        """Get a token.

        Raises:
            StepError: DENIED, UNREACHABLE, UNTRUSTED.
        """
        for attempt in retry.attempts(self.stop, faults.is_transient):
            with attempt:
                self.token = self._request_token()

    def log_out(self) -> None:
        """End the session. Never raises: it also runs while another error propagates."""
        token, self.token = self.token, ""
        if not token:
            return
        form = urlencode({"scope": "", "token": token}).encode()
        with suppress(Exception):
            self.unstoppable()._exchange("POST", f"{self.endpoint.base}/services/sso-logout", form, _FORM)

    def check_version(self) -> None:
        """Prove that this is an engine of a version that can be used.

        Raises:
            StepError: UNSUPPORTED, with its version; UNREACHABLE, if it is not an engine.
        """
        product = self.read("read the engine's version", "").child("product_info")
        version = product.child("version")
        numbers = (version.number("major"), version.number("minor"))
        if numbers[0] is None:
            raise unusable("product_info.version is missing")
        if (numbers[0], numbers[1] or 0) < _OLDEST:
            raise StepError(
                Exit.UNSUPPORTED,
                f"the engine at {self.endpoint} cannot be used",
                f"it has version {numbers[0]}.{numbers[1] or 0}",
                f"vmferry needs {'.'.join(map(str, _OLDEST))} or later: update the engine",
            )

    def _call(self, what: str, method: str, target: str, body: bytes | None) -> Answer:
        """One call, with a new token if the old one has ended."""
        status, answer = self._send(what, method, target, body)
        if status == 401:
            log.info("the token has ended: logging in again")
            self.token = self._request_token()
            status, answer = self._send(what, method, target, body)
        if not 200 <= status < 300:
            raise faults.from_status(what, status, faults.fault_text(answer))
        return answer

    def _send(self, what: str, method: str, target: str, body: bytes | None) -> tuple[int, Answer]:
        headers = {"Authorization": f"Bearer {self.token}", "Version": "4", "Correlation-Id": self.mark}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            reply = self._exchange(method, target, body, headers)
        except faults.NETWORK as error:
            raise faults.from_connection(what, error, self.endpoint) from error
        return reply.status, json_call.parse(Answer, what, reply.status, reply.body)

    def _request_token(self) -> str:
        """A token by the password (oVirt REST API guide, "OAuth authentication").

        A refused login is answered with 400, 401, or 200 and an `error` (ENG SsoService).
        """
        what = f"cannot log in to {self.endpoint}"
        form = {
            "grant_type": "password",
            "scope": _SCOPE,
            "username": self.credentials.username,
            "password": self.credentials.password,
        }
        target = f"{self.endpoint.base}/sso/oauth/token"
        try:
            status, data, _ = self._exchange(
                "POST", target, urlencode(form, errors="surrogateescape").encode(), _FORM
            )
        except faults.NETWORK as error:
            raise faults.from_connection(what, error, self.endpoint) from error
        answer = json_call.parse(Answer, what, status, data)
        refusal = _refusal(answer)
        if status in (400, 401, 403) or (status == 200 and refusal):
            remedy = (
                "correct username (with its profile, as admin@internal) and password in the source's secret"
            )
            raise StepError(Exit.DENIED, what, refusal or f"the engine answers {status}", remedy)
        if status == 404:
            why = f"{target} does not exist"
            raise StepError(
                Exit.UNREACHABLE, what, why, "write the endpoint as https://HOST/ovirt-engine/api"
            )
        if not 200 <= status < 300:
            raise faults.from_status(what, status, faults.fault_text(answer))
        return answer.required("access_token")

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> json_call.Reply:
        """One request to the engine. Raises as `json_call.exchange`."""
        self.stop.check()
        client = HttpClient(self.endpoint.url(target), self.tls)
        own = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        return json_call.exchange(
            client,
            method,
            {**own, **headers},
            body,
            kind=Answer,
            seconds=ANSWER_SECONDS,
            stop=self.stop,
        )


_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_USER_AGENT: Final = f"vmferry/{importlib.metadata.version('vmferry')}"


def _refusal(answer: Answer) -> str:
    """The text of a refused login; "" if it is none."""
    text = answer.text("error_description") or answer.text("error") or answer.text("error_code")
    return " ".join(text.split())[: faults.LONGEST_TEXT]


@contextmanager
def connect(access: Access) -> Iterator[Engine]:
    """Log in to the engine; log out at the end.

    Raises:
        StepError: INVALID (endpoint, credentials), UNREACHABLE, UNTRUSTED, DENIED.
    """
    credentials = Credentials.read(access.credentials)
    insecure = access.plan.insecure_skip_tls_verify
    engine = Engine(
        endpoint=Endpoint.parse(access.plan.endpoint),
        tls=certificates.tls_context(ca=credentials.ca, insecure=insecure),
        insecure=insecure,
        stop=access.stop,
        credentials=credentials,
        ports=Ports(access.plan.image_daemon_port, access.plan.image_proxy_port),
        mark=_NOT_IN_MARK.sub("-", f"vmferry-{access.run}-{access.step}")[:_LONGEST_MARK],
    )
    engine.log_in()
    try:
        yield engine
    finally:
        engine.log_out()
