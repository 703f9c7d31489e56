"""The tags of VMs: vCenter has them in another API than everything else, with sessions of its own.

vSphere Automation API, cis.tagging, at `/rest` (since 6.5). The tags of many VMs come with one request; each
tag and each category has a request of its own, because there is none for several.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Final
from urllib.parse import quote

import structlog

from steps.disk.http_client import HttpClient
from steps.model.contract import Exit, StepError
from steps.model.machine import Tag
from steps.providers import json_call
from steps.providers.answers import Answer
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.session import Session
from steps.runtime import retry
from steps.runtime.stop import Stop

log = structlog.get_logger()

ANSWER_SECONDS: Final = 60.0
BATCH: Final = 1000
"""VMs in one request: an answer has about 200 bytes for each."""
MOST_TAGS: Final = 5000
"""Different tags that are read; a vCenter has a few hundred."""
_BASE: Final = "/rest/com/vmware/cis"
_SESSION: Final = "vmware-api-session-id"


class TagAnswer(Answer):
    """A part of an answer of the Automation API."""

    WHAT = "the answer of vCenter's Automation API cannot be used"
    REMEDY = "check that the endpoint is a vCenter"


@dataclass(frozen=True)
class VmTags:
    """The tags of VMs by the ids of their objects."""

    by_vm: Mapping[str, tuple[Tag, ...]] = field(default_factory=dict)
    unknown: str = ""
    """Why they could not be read, as a clause; "" if they were."""

    def of(self, vm: str) -> tuple[Tag, ...]:
        return self.by_vm.get(vm, ())


def read(session: Session, credentials: Credentials, vms: Sequence[str]) -> VmTags:
    """The tags of the VMs with these ids. An inventory is useful without them, so no failure is an error.

    Raises:
        Stopped: a stop was requested.
    """
    if session.is_host:
        return VmTags(unknown="a stand-alone ESXi host has no tags")
    try:
        with _log_in(session, credentials) as api:
            return VmTags(_read(api, vms))
    except StepError as error:
        log.warning("the tags cannot be read", why=str(error))
        return VmTags(unknown=str(error))


@dataclass(frozen=True, kw_only=True)
class _Api:
    """A session of the Automation API."""

    base: str
    tls: ssl.SSLContext
    stop: Stop
    user_agent: str
    token: str = field(default="", repr=False)

    def read(self, what: str, path: str, document: object = None) -> Answer:
        """The field `value` of the answer; a POST, if there is a document, which changes nothing either."""
        method = "GET" if document is None else "POST"
        body = None if document is None else json.dumps(document).encode()
        return self.call(what, method, path, body, {_SESSION: self.token}).child("value")

    def call(
        self, what: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """The answer, repeated if the connection breaks. Raises StepError."""
        for attempt in retry.attempts(self.stop, lambda error: isinstance(error, _NETWORK)):
            with attempt:
                return self._call_once(what, method, path, body, headers)
        raise AssertionError  # attempts() either succeeds or raises

    def _call_once(
        self, what: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        own = {"Accept": "application/json", "User-Agent": self.user_agent}
        if body is not None:
            own["Content-Type"] = "application/json"
        client = HttpClient(f"{self.base}{path}", self.tls)
        reply = json_call.exchange(
            client,
            method,
            own | dict(headers),
            body,
            kind=TagAnswer,
            seconds=ANSWER_SECONDS,
            stop=self.stop,
        )
        if not 200 <= reply.status < 300:
            raise StepError(_code(reply.status), f"cannot {what}", f"vCenter answers {reply.status}")
        return json_call.parse(TagAnswer, f"cannot {what}", reply.status, reply.body)


_NETWORK: Final = (OSError, HTTPException)


def _code(status: int) -> Exit:
    if status in (401, 403):
        return Exit.DENIED
    return Exit.NOT_FOUND if status == 404 else Exit.UNREACHABLE


@contextmanager
def _log_in(session: Session, credentials: Credentials) -> Iterator[_Api]:
    """A session of its own, which is always ended. Raises StepError, also for a failure of the network."""
    endpoint = session.endpoint
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    api = _Api(
        base=f"https://{host}:{endpoint.port}{_BASE}",
        tls=session.tls,
        stop=session.stop,
        user_agent=session.user_agent,
    )
    login = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    try:
        api.stop.check()
        # A stop during this request would leave a session of which only vCenter knows.
        answer = replace(api, stop=Stop()).call(
            "log in for the tags", "POST", "/session", b"", {"Authorization": f"Basic {login}"}
        )
        token = answer.required("value")
        opened = replace(api, token=_header(token))
        try:
            yield opened
        finally:
            _log_out(opened)
    except _NETWORK as error:
        why = str(error) or type(error).__name__
        raise StepError(Exit.UNREACHABLE, "cannot read the tags", why) from error


def _header(token: str) -> str:
    """The token, if it can be a header. Raises StepError: UNREACHABLE."""
    if not token.isascii() or not token.isprintable():
        raise TagAnswer.unusable("its session has no usable name")
    return token


def _log_out(api: _Api) -> None:
    """End the session. Never raises: it also runs while another error propagates, or after a stop."""
    try:
        replace(api, stop=Stop()).call("log out", "DELETE", "/session", None, {_SESSION: api.token})
    except Exception as error:
        log.debug("could not end the session for tags; it ends by itself", why=str(error))


def _read(api: _Api, vms: Sequence[str]) -> dict[str, tuple[Tag, ...]]:
    ids = dict(_ids(api, vms))
    used = list(dict.fromkeys(tag for tags in ids.values() for tag in tags))
    if len(used) > MOST_TAGS:
        raise TagAnswer.unusable(f"the VMs have {len(used)} different tags, more than {MOST_TAGS}")
    named = _names(api, used)
    return {
        vm: tuple(sorted((named[tag] for tag in tags if tag in named), key=str)) for vm, tags in ids.items()
    }


def _ids(api: _Api, vms: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """VMs that have tags, with the ids of these."""
    path = "/tagging/tag-association?~action=list-attached-tags-on-objects"
    for start in range(0, len(vms), BATCH):
        objects = [{"id": vm, "type": "VirtualMachine"} for vm in vms[start : start + BATCH]]
        document = {"object_ids": objects}
        value = api.read("list the tags of the VMs", path, document)
        for found in TagAnswer({"value": value.value}).elements("value"):
            tags = found.texts("tag_ids")
            if tags:
                yield found.required("object_id", "id"), tags


def _names(api: _Api, ids: Iterable[str]) -> dict[str, Tag]:
    """Tags by their ids. One that was deleted meanwhile is left out."""
    named: dict[str, Tag] = {}
    categories: dict[str, str] = {}
    for tag_id in ids:
        api.stop.check()
        try:
            tag = api.read("read a tag", f"/tagging/tag/id:{quote(tag_id, safe=':')}")
            category = tag.text("category_id")
            if category and category not in categories:
                found = api.read(
                    "read a category of tags", f"/tagging/category/id:{quote(category, safe=':')}"
                )
                categories[category] = found.text("name")
        except StepError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            continue
        name, key = tag.required("name"), categories.get(category)
        named[tag_id] = Tag(name=key, value=name) if key else Tag(name=name)
    return named
