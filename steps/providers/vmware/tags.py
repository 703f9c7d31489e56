"""The tags of VMs: vCenter has them in another API than everything else, with sessions of its own.

vSphere Automation API, com.vmware.cis.tagging: at `/api` from vSphere 7.0 U2, before that at `/rest`. The
tags of many VMs come with one request; each tag and each category has a request of its own, because there is
none for several.
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
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Machine, Tag
from steps.model.naming import shown
from steps.providers import json_call
from steps.providers.answers import Answer
from steps.providers.json_call import Reply
from steps.providers.vmware import collector
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.session import Session
from steps.runtime import retry
from steps.runtime.stop import Stop

log = structlog.get_logger()

ANSWER_SECONDS: Final = 60.0
MOST_BYTES_OF_VM: Final = 1 << 20
"""Bytes of an answer about one VM."""
MOST_TAGS_OF_VM: Final = 256
"""Tags of one VM that an import reads: each costs a request."""
BATCH: Final = 1000
"""VMs in one request: an answer has about 200 bytes for each."""
MOST_TAGS: Final = 5000
"""Different tags that are read; a vCenter has a few hundred."""
_WHAT: Final = "cannot read the tags of the VM"
_SESSION: Final = "vmware-api-session-id"
_VM: Final = "VirtualMachine"
"""Type of an object that has tags."""


class TagAnswer(Answer):
    """A part of an answer of the Automation API."""

    WHAT = "the answer of vCenter's Automation API cannot be used"
    REMEDY = "check that the endpoint is a vCenter"


@dataclass(frozen=True)
class Form:
    """A form of the API: its paths, and whether each result is the member `value` of an object."""

    session: str
    attached: str
    tag: str
    category: str
    association: str
    """With the places for the id of the tag and for the action."""
    is_wrapped: bool


NEW: Final = Form(
    session="/api/session",
    attached="/api/cis/tagging/tag-association?action=list-attached-tags-on-objects",
    tag="/api/cis/tagging/tag/",
    category="/api/cis/tagging/category/",
    association="/api/cis/tagging/tag-association/{tag}?action={action}",
    is_wrapped=False,
)
OLD: Final = Form(
    session="/rest/com/vmware/cis/session",
    attached="/rest/com/vmware/cis/tagging/tag-association?~action=list-attached-tags-on-objects",
    tag="/rest/com/vmware/cis/tagging/tag/id:",
    category="/rest/com/vmware/cis/tagging/category/id:",
    association="/rest/com/vmware/cis/tagging/tag-association/id:{tag}?~action={action}",
    is_wrapped=True,
)


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
            return VmTags(_read(api, dict(_ids(api, vms))))
    except StepError as error:
        log.warning("the tags cannot be read", why=str(error))
        return VmTags(unknown=str(error))


def of_vm(session: Session, credentials: Credentials, machine: Machine) -> tuple[Tag, ...]:
    """The custom attributes and the tags of one VM, for an import that needs them.

    A stand-alone host has none.

    Raises:
        StepError: DENIED, UNREACHABLE, or NOT_FOUND if the VM was deleted.
        Stopped: a stop was requested.
    """
    if session.is_host:
        return ()
    attributes = tuple(_attributes(session, machine))
    vm = machine.source_id
    try:
        with _log_in(session, credentials, most_bytes=MOST_BYTES_OF_VM) as api:
            ids = dict(_ids(api, [vm])).get(vm, ())
            if len(ids) > MOST_TAGS_OF_VM:
                log.warning("the VM has more tags than are read", tags=len(ids), read=MOST_TAGS_OF_VM)
            return (*attributes, *_read(api, {vm: ids[:MOST_TAGS_OF_VM]})[vm])
    except StepError as error:
        remedy = "let the account read tags (System.Read on the VM), or remove spec.virtualMachine.tagLabels"
        raise type(error)(error.code, _WHAT, f"{error.what}: {error.why}", remedy) from None


def check_attachable(session: Session, credentials: Credentials, machine: Machine, tag: str) -> None:
    """Prove that there is this tag, as CATEGORY:NAME or NAME, and that its category allows it for the VM.

    A category may be for other objects only, and it may allow one tag per object (tagging.CategoryModel,
    associable_types and cardinality).

    Raises:
        StepError: NOT_FOUND, AMBIGUOUS, DENIED; UNSUPPORTED if the category does not allow it.
    """
    _check_has_tags(session, tag)
    with _log_in(session, credentials) as api:
        tag_id = _find(api, tag)
        attached = _attached(api, machine)
        if tag_id not in attached:
            _check_category(api, tag, tag_id, attached)


def _check_category(api: _Api, wanted: str, tag_id: str, attached: Sequence[str]) -> None:
    category_id = _tag(api, tag_id).required("category_id")
    category = _category(api, category_id)
    what, remedy = f"the VM cannot get the tag {wanted}", "use a tag of another category"
    types = {text.rpartition(":")[2] for text in category.texts("associable_types")}
    if types and _VM not in types:
        raise StepError(Exit.UNSUPPORTED, what, "its category is not for VMs", remedy)
    if category.text("cardinality") != "SINGLE":
        return
    others = [one for one in attached if _tag(api, one).text("category_id") == category_id]
    if others:
        why = f"its category allows one tag per VM, and the VM has {shown(_tag(api, others[0]).text('name'))}"
        raise StepError(Exit.UNSUPPORTED, what, why, remedy)


def has_tag(session: Session, credentials: Credentials, machine: Machine, tag: str) -> bool:
    """Whether the VM has the tag, as CATEGORY:NAME or NAME.

    Raises:
        StepError: DENIED; UNSUPPORTED at a stand-alone host.
    """
    _check_has_tags(session, tag)
    with _log_in(session, credentials, most_bytes=MOST_BYTES_OF_VM) as api:
        return any(_fits(found, tag) for found in _names(api, _attached(api, machine)).values())


def _attached(api: _Api, machine: Machine) -> tuple[str, ...]:
    """The ids of the tags of a VM."""
    return dict(_ids(api, [machine.source_id])).get(machine.source_id, ())[:MOST_TAGS_OF_VM]


def set_tag(session: Session, credentials: Credentials, machine: Machine, tag: str, *, present: bool) -> None:
    """Attach an existing tag to the VM, or detach it.

    Both may be done twice (tagging.TagAssociation, attach and detach: "idempotent").

    Raises:
        StepError: NOT_FOUND, AMBIGUOUS, DENIED; UNSUPPORTED at a stand-alone host; INVALID if vCenter
            refuses it.
    """
    _check_has_tags(session, tag)
    with _log_in(session, credentials) as api:
        action = "attach" if present else "detach"
        path = api.form.association.format(tag=quote(_find(api, tag), safe=":"), action=action)
        api.read(
            f"{action} the tag {tag}",
            path,
            {"object_id": {"id": machine.source_id, "type": _VM}},
        )


def _check_has_tags(session: Session, tag: str) -> None:
    if session.is_host:
        why = "a stand-alone ESXi host has no tags"
        raise StepError(
            Exit.UNSUPPORTED, f"there is no tag {tag}", why, "remove the tag from spec.markSource"
        )


def _find(api: _Api, wanted: str) -> str:
    """The id of a tag. Each tag costs a request, because there is none for several."""
    ids = api.read("list the tags", api.form.tag.removesuffix("id:").rstrip("/")).texts("value")
    if len(ids) > MOST_TAGS:
        raise TagAnswer.unusable(f"it has {len(ids)} tags, more than {MOST_TAGS}")
    found = [tag_id for tag_id, tag in _names(api, ids).items() if _fits(tag, wanted)]
    if not found:
        raise StepError(
            Exit.NOT_FOUND,
            f"there is no tag {wanted}",
            "",
            "create it in vCenter, or correct spec.markSource",
        )
    if len(found) > 1:
        raise StepError(
            Exit.AMBIGUOUS, f"several categories have a tag {wanted}", "", "write it as CATEGORY:NAME"
        )
    return found[0]


def _fits(tag: Tag, wanted: str) -> bool:
    """Whether a tag is meant by CATEGORY:NAME or NAME."""
    return wanted in (str(tag), tag.value if tag.has_category else tag.name)


def _attributes(session: Session, machine: Machine) -> Iterator[Tag]:
    """VirtualMachine.customValue, with the names in availableField."""
    row = collector.read_one(session, session.vm(machine), "customValue", "availableField")
    names = {field.key: str(field.name) for field in row.get("availableField", ())}
    for one in row.get("customValue", ()):
        text = str(getattr(one, "value", ""))
        if text and one.key in names:
            yield Tag(name=names[one.key], value=text)


@dataclass(frozen=True, kw_only=True)
class _Api:
    """A session of the Automation API."""

    server: str
    tls: ssl.SSLContext
    stop: Stop
    user_agent: str
    most_bytes: int | None
    form: Form = NEW
    token: str = field(default="", repr=False)

    def read(self, what: str, path: str, document: object = None) -> Answer:
        """The result, in the field `value`; a POST, if there is a document, which changes nothing either."""
        method = "GET" if document is None else "POST"
        body = None if document is None else json.dumps(document).encode()
        return self.call(what, method, path, body, {_SESSION: self.token})

    def call(
        self, what: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """The result, in the field `value`; repeated if the connection breaks. Raises StepError."""
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
        client = HttpClient(f"{self.server}{path}", self.tls)
        reply = json_call.exchange(
            client,
            method,
            own | dict(headers),
            body,
            kind=TagAnswer,
            seconds=ANSWER_SECONDS,
            stop=self.stop,
            most_bytes=self.most_bytes,
        )
        if not 200 <= reply.status < 300:
            raise _refusal(f"cannot {what}", reply)
        if self.form.is_wrapped:
            return json_call.parse(TagAnswer, f"cannot {what}", reply.status, reply.body)
        return TagAnswer({"value": TagAnswer.parse(reply.body).value})


_NETWORK: Final = (OSError, HTTPException)


_REPEATABLE: Final = (408, 429)
"""Refusals of a request that may be made later."""


def _refusal(what: str, reply: Reply) -> StepError:
    """The error of an answer. A request that vCenter refuses is never repeated: it is not an outage."""
    status, reason = reply.status, _reason(reply.body)
    why = f"vCenter answers {status}: {reason}" if reason else f"vCenter answers {status}"
    if status in (401, 403):
        return StepError(Exit.DENIED, what, why)
    if status == 404:
        return StepError(Exit.NOT_FOUND, what, why)
    if 400 <= status < 500 and status not in _REPEATABLE:
        return StepError(Exit.INVALID, what, why)
    return NoAnswerError(Exit.UNREACHABLE, what, why)


def _reason(body: bytes) -> str:
    """The first message of an error (vapi.std.errors.Error), in its newer or older form; "" without one."""
    try:
        answer = TagAnswer.parse(body)
        answer = answer.child("value") if "value" in answer.keys() else answer  # noqa: SIM118 - no mapping
        texts = [one.text("default_message") for one in answer.elements("messages")]
    except StepError:
        return ""
    return shown(texts[0]) if texts and texts[0] else ""


@contextmanager
def _log_in(session: Session, credentials: Credentials, *, most_bytes: int | None = None) -> Iterator[_Api]:
    """A session of its own, which is always ended. Raises StepError, also for a failure of the network."""
    endpoint = session.endpoint
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    api = _Api(
        server=f"https://{host}:{endpoint.port}",
        tls=session.tls,
        stop=session.stop,
        user_agent=session.user_agent,
        most_bytes=most_bytes,
    )
    login = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    try:
        api.stop.check()
        try:
            opened = _opened(api, login)
        except StepError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            opened = _opened(replace(api, form=OLD), login)
        try:
            yield opened
        finally:
            _log_out(opened)
    except _NETWORK as error:
        why = str(error) or type(error).__name__
        raise NoAnswerError(Exit.UNREACHABLE, "cannot read the tags", why) from error


def _opened(api: _Api, login: str) -> _Api:
    """The same with a new session. A stop during this request would leave one of which only vCenter knows."""
    answer = replace(api, stop=Stop()).call(
        "log in for the tags", "POST", api.form.session, b"", {"Authorization": f"Basic {login}"}
    )
    return replace(api, token=_header(answer.required("value")))


def _header(token: str) -> str:
    """The token, if it can be a header. Raises StepError: UNREACHABLE."""
    if not token.isascii() or not token.isprintable():
        raise TagAnswer.unusable("its session has no usable name")
    return token


def _log_out(api: _Api) -> None:
    """End the session. Never raises: it also runs while another error propagates, or after a stop."""
    try:
        replace(api, stop=Stop()).call("log out", "DELETE", api.form.session, None, {_SESSION: api.token})
    except Exception as error:
        log.debug("could not end the session for tags; it ends by itself", why=str(error))


def _read(api: _Api, ids: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Tag, ...]]:
    """The tags of VMs from the ids of their tags."""
    used = list(dict.fromkeys(tag for tags in ids.values() for tag in tags))
    if len(used) > MOST_TAGS:
        raise TagAnswer.unusable(f"the VMs have {len(used)} different tags, more than {MOST_TAGS}")
    named = _names(api, used)
    return {
        vm: tuple(sorted((named[tag] for tag in tags if tag in named), key=str)) for vm, tags in ids.items()
    }


def _ids(api: _Api, vms: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """VMs that have tags, with the ids of these."""
    for start in range(0, len(vms), BATCH):
        objects = [{"id": vm, "type": _VM} for vm in vms[start : start + BATCH]]
        document = {"object_ids": objects}
        answer = api.read("list the tags of the VMs", api.form.attached, document)
        if not isinstance(answer.child("value").value, list):  # a missing list is not an empty one
            raise TagAnswer.unusable("the list of tags is no list")
        for found in answer.elements("value"):
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
            tag = _tag(api, tag_id)
            category = tag.text("category_id")
            if category and category not in categories:
                categories[category] = _category(api, category).text("name")
        except StepError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            continue
        name, key = tag.required("name"), categories.get(category)
        named[tag_id] = Tag(name=key, value=name) if key else Tag(name=name)
    return named


def _tag(api: _Api, tag_id: str) -> Answer:
    return api.read("read a tag", f"{api.form.tag}{quote(tag_id, safe=':')}").child("value")


def _category(api: _Api, category_id: str) -> Answer:
    path = f"{api.form.category}{quote(category_id, safe=':')}"
    return api.read("read a category of tags", path).child("value")
