"""The tags and custom attributes of a VM.

Tags are not in the Web Services API but in vCenter's Automation API: `/api` from vSphere 7.0 U2, before that
`/rest` (vSphere Automation API, com.vmware.cis.tagging). It has a session of its own, which is always ended.
A stand-alone host has neither tags nor custom attributes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import structlog

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Machine, Tag
from steps.providers.vmware import collector, faults
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.session import Session, new_connection

log = structlog.get_logger()

WHAT: Final = "cannot read the tags of the VM"
MOST_TAGS: Final = 256
"""Tags of one VM that are read: each costs a request."""
LONGEST_ANSWER: Final = 1 << 20
"""Bytes."""
_SESSION: Final = "vmware-api-session-id"
_MISSING: Final = 404


class Reply(NamedTuple):
    """An answer of the API."""

    status: int
    body: bytes


Call = Callable[[str, str, Mapping[str, str], bytes | None], Reply]
"""One request: method, path, headers, body. Raises what `http.client` raises."""


@dataclass(frozen=True)
class Dialect:
    """The paths of one form of the API. In the older one each result is the member `value` of an object."""

    session: str
    attached: str
    tag: str
    category: str
    is_wrapped: bool


NEW: Final = Dialect(
    session="/api/session",
    attached="/api/cis/tagging/tag-association?action=list-attached-tags",
    tag="/api/cis/tagging/tag/{}",
    category="/api/cis/tagging/category/{}",
    is_wrapped=False,
)
OLD: Final = Dialect(
    session="/rest/com/vmware/cis/session",
    attached="/rest/com/vmware/cis/tagging/tag-association?~action=list-attached-tags",
    tag="/rest/com/vmware/cis/tagging/tag/id:{}",
    category="/rest/com/vmware/cis/tagging/category/id:{}",
    is_wrapped=True,
)


def read(session: Session, machine: Machine, credentials: Path) -> tuple[Tag, ...]:
    """The custom attributes and the tags of a VM.

    Raises:
        StepError: DENIED, UNREACHABLE, or NOT_FOUND if the VM was deleted.
    """
    if session.is_host:
        return ()
    attributes = _attributes(session, machine)
    login = Credentials.read(credentials)
    with faults.as_step_error(WHAT, session.endpoint):
        return (*attributes, *read_tags(_caller(session), login, machine.source_id))


def _attributes(session: Session, machine: Machine) -> Iterator[Tag]:
    """VirtualMachine.customValue, with the names in availableField."""
    row = collector.read_one(session, session.vm(machine), "customValue", "availableField")
    names = {field.key: str(field.name) for field in row.get("availableField", ())}
    for one in row.get("customValue", ()):
        text = str(getattr(one, "value", ""))
        if text and one.key in names:
            yield Tag(name=names[one.key], value=text)


def _caller(session: Session) -> Call:
    def call(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        session.stop.check()
        connection = new_connection(session.endpoint, session.tls)
        try:
            connection.request(method, path, body, {"User-Agent": session.user_agent, **headers})
            with connection.getresponse() as response:
                return Reply(response.status, response.read(LONGEST_ANSWER + 1))
        finally:
            connection.close()

    return call


def read_tags(call: Call, login: Credentials, moid: str) -> tuple[Tag, ...]:
    """The tags of the VM with that managed object ID.

    Raises:
        StepError: DENIED, UNREACHABLE.
    """
    with _logged_in(call, login) as (dialect, headers):
        reader = _Reader(call, dialect, headers)
        subject = {"object_id": {"id": moid, "type": "VirtualMachine"}}
        ids = reader.read("POST", dialect.attached, json.dumps(subject).encode())
        if not isinstance(ids, list):
            raise _unusable("the list of tags is no list")
        if len(ids) > MOST_TAGS:
            log.warning("the VM has more tags than are read", tags=len(ids), read=MOST_TAGS)
        return tuple(reader.tag(str(one)) for one in ids[:MOST_TAGS])


class _Reader:
    """Reads tags in one session; each category once."""

    def __init__(self, call: Call, dialect: Dialect, headers: Mapping[str, str]) -> None:
        self._call = call
        self._dialect = dialect
        self._headers = headers
        self._categories: dict[str, str] = {}

    def read(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The result of a request."""
        return _result(self._call(method, path, self._headers, body), self._dialect)

    def tag(self, tag_id: str) -> Tag:
        """A tag with the name of its category."""
        found = self.read("GET", self._dialect.tag.format(quote(tag_id, safe=":")))
        category_id, value = _text(found, "category_id"), _text(found, "name")
        if category_id not in self._categories:
            category = self.read("GET", self._dialect.category.format(quote(category_id, safe=":")))
            self._categories[category_id] = _text(category, "name")
        return Tag(name=self._categories[category_id], value=value)


@contextmanager
def _logged_in(call: Call, login: Credentials) -> Iterator[tuple[Dialect, Mapping[str, str]]]:
    """A session, and its headers. An older vCenter has only the older form."""
    secret = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    basic = {"Authorization": f"Basic {secret}"}
    dialect = NEW
    reply = call("POST", dialect.session, basic, b"")
    if reply.status == _MISSING:
        dialect = OLD
        reply = call("POST", dialect.session, basic, b"")
    token = _result(reply, dialect)
    if not isinstance(token, str) or not token.isprintable():
        raise _unusable("the session has no ID")
    headers = {_SESSION: token, "Content-Type": "application/json"}
    try:
        yield dialect, headers
    finally:
        with suppress(OSError, HTTPException, StepError):  # it ends by itself, too
            call("DELETE", dialect.session, headers, None)


def _result(reply: Reply, dialect: Dialect) -> Any:
    if reply.status in (401, 403):
        raise StepError(
            Exit.DENIED,
            WHAT,
            f"vCenter answers {reply.status}",
            "let the account read tags (System.Read on the VM), or remove spec.virtualMachine.tagLabels",
        )
    if not 200 <= reply.status < 300:
        raise NoAnswerError(Exit.UNREACHABLE, WHAT, f"vCenter answers {reply.status}", "it is tried again")
    if len(reply.body) > LONGEST_ANSWER:
        raise _unusable(f"the answer has more than {LONGEST_ANSWER} bytes")
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise _unusable(f"it is not JSON ({type(error).__name__})") from None
    if not dialect.is_wrapped:
        return found
    if not isinstance(found, dict) or "value" not in found:
        raise _unusable("it has no value")
    return found["value"]


def _text(answer: Any, name: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value:
        raise _unusable(f"{name} is missing")
    return value


def _unusable(why: str) -> StepError:
    return StepError(
        Exit.UNREACHABLE,
        WHAT,
        f"the answer of vCenter cannot be used: {why}",
        "check what answers at spec.endpoint, or remove spec.virtualMachine.tagLabels",
    )
