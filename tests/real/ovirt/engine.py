"""The engine stand-in: sessions, paths, formats and faults, over the state, resources and transfers."""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.real.ovirt import machines, render, search
from tests.real.ovirt.documents import API, Document, reference, transfer
from tests.real.ovirt.resources import Collection, Entity, FollowError, Resources
from tests.real.ovirt.state import NoSuchError, RefusedError, State, seconds
from tests.real.ovirt.transfers import Transfers, Wanted
from tests.real.ovirt.web import Answer, Request, json_answer

_SSO: Final = "/ovirt-engine/sso/oauth/token"
_LOGOUT: Final = "/ovirt-engine/services/sso-logout"
_PKI: Final = "/ovirt-engine/services/pki-resource"
_ERROR: Final = b"<html><head><title>Error</title></head><body>%s</body></html>"
_OF_VM: Final = {"shutdown": machines.shut_down, "stop": machines.stop, "start": machines.start}
_OF_TRANSFER: Final = {"extend", "finalize", "cancel", "pause", "resume"}
_VERSIONS: Final = {"", "4"}


class Sessions:
    """The tokens of the single sign-on; each expires after some time without a call."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._used: dict[str, float] = {}

    def token(self, form: dict[str, str], accept: str) -> Answer:
        if accept != "application/json":
            return _denied("invalid_request", "The request is missing a required parameter: Accept Header")
        if form.get("grant_type") != "password":
            return _denied("unsupported_grant_type", "The authorization grant type is not supported.")
        user = form.get("username", "")
        if not self._is_right(user, form.get("password", "")):
            text = "The user name or password is incorrect.."
            return _denied("access_denied", f"Cannot authenticate user '{user}': {text}")
        token = secrets.token_urlsafe(64)
        self._used[token] = seconds()
        self._state.tell(30, f"User {user}-authz logged in.", user=self._state.account)
        scope = form.get("scope", "")
        facts = {"access_token": token, "scope": scope, "exp": "9223372036854775807", "token_type": "bearer"}
        return json_answer(facts)

    def end(self, token: str) -> Answer:
        """Log out; the token of an ended session is accepted, too."""
        self._used.pop(token, None)
        return json_answer({})

    def expire(self) -> None:
        """End all sessions, as a restart of the engine does."""
        self._used.clear()

    def live(self) -> int:
        """The number of sessions that were not ended and did not expire."""
        return sum(seconds() - used <= self._state.settings.token_seconds for used in self._used.values())

    def allows(self, header: str) -> bool:
        """Whether the Authorization header names the account or a live session."""
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            used = self._used.get(value.strip())
            if used is None or seconds() - used > self._state.settings.token_seconds:
                return False
            self._used[value.strip()] = seconds()
            return True
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return False
            return self._is_right(user, password)
        return False

    def _is_right(self, user: str, password: str) -> bool:
        told = self._state.described
        return secrets.compare_digest(
            f"{user}\0{password}".encode(), f"{told.username}\0{told.password}".encode()
        )


class Engine:
    """Answers the requests of clients."""

    def __init__(self, state: State, resources: Resources, transfers: Transfers, authority: Path) -> None:
        self.state, self.resources, self.transfers = state, resources, transfers
        self.sessions = Sessions(state)
        self._authority = authority

    def handle(self, request: Request) -> Answer:
        url = urlsplit(request.target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        path = unquote(url.path).rstrip("/")
        form = dict(parse_qsl(request.body.decode(errors="replace")))
        with self.state.lock:
            if path == _SSO:
                return self.sessions.token({**query, **form}, request.headers.get("accept", ""))
            if path == _LOGOUT:
                return self.sessions.end(form.get("token", query.get("token", "")))
            if path == _PKI:
                return Answer(200, self._authority.read_bytes(), "application/x-x509-ca-cert")
            if path == API or path.startswith(f"{API}/"):
                return self._api(request, path, query)
        return Answer(404, _ERROR % b"Not Found")

    def _api(self, request: Request, path: str, query: dict[str, str]) -> Answer:
        if not self.sessions.allows(request.headers.get("authorization", "")):
            realm = {"WWW-Authenticate": 'Basic realm="RESTAPI"'}
            return Answer(401, _ERROR % b"Unauthorized", headers=realm)
        if request.headers.get("version", "") not in _VERSIONS:
            return Answer(400, _ERROR % b"Bad Request")
        accept = request.headers.get("accept", "")
        if accept and not any(word in accept for word in ("xml", "json", "*/*")):
            return Answer(406, _ERROR % b"Not Acceptable")
        below = tuple(path.removeprefix(API).strip("/").split("/")) if path != API else ()
        as_json = "json" in accept and "xml" not in accept
        try:
            status, element, document = self._document(request, below, query)
        except NoSuchError:
            return Answer(404, b"", headers={})
        except RefusedError as refusal:
            status, element, document = refusal.status, "fault", _fault(refusal.detail)
        except search.SearchError as error:
            status, element, document = 400, "fault", _fault(str(error))
        except render.MalformedError as error:
            reason = "Request syntactically incorrect."
            status, element, document = 400, "fault", _fault(str(error), reason)
        except FollowError:
            return Answer(500, _ERROR % b"Internal Server Error")
        return _rendered(status, element, document, as_json=as_json)

    def _document(
        self, request: Request, path: tuple[str, ...], query: dict[str, str]
    ) -> tuple[int, str, Document]:
        if request.method == "GET":
            found = self.resources.get(path, query)
            if isinstance(found, Entity):
                return 200, found.element, found.document
            return 200, found.root, _members(found)
        if request.method != "POST":
            raise NoSuchError("/".join(path))
        body = render.parse(request.body, request.headers.get("content-type", ""))
        match path:
            case ("imagetransfers",):
                return self._new_transfer(body)
            case ("imagetransfers", known, action) if action in _OF_TRANSFER:
                self.transfers.act(self.state.transfers.get(known), action)
                return 200, "action", {"status": "complete"}
            case ("vms", known, action) if action in _OF_VM:
                return self._action_on_vm(known, action)
        raise NoSuchError("/".join(path))

    def _new_transfer(self, body: Document) -> tuple[int, str, Document]:
        known = (body.get("disk") or body.get("image") or {}).get("id", "")
        if not known:
            text = "ImageTransfer [image.id | disk.id | snapshot.id] required for add"
            return 400, "fault", _fault(text, "Incomplete parameters")
        timeout = body.get("inactivity_timeout")
        wanted = Wanted(
            disk=known,
            direction=body.get("direction", "upload"),
            format=body.get("format", ""),
            inactivity_timeout=int(timeout) if timeout is not None else None,
            timeout_policy=body.get("timeout_policy", "legacy"),
            shallow=str(body.get("shallow", "false")).lower() == "true",
        )
        made = self.transfers.create(wanted)
        return 201, "image_transfer", transfer(made, self.state, self.resources.urls(made))

    def _action_on_vm(self, known: str, action: str) -> tuple[int, str, Document]:
        vm = self.state.vms.get(known)
        if vm is None:
            missing = {"status": "failed", "fault": _fault(f"[Cannot {action} VM. VM is not found.]")}
            return 400, "action", missing
        try:
            job = _OF_VM[action](self.state, vm)
        except RefusedError as refusal:
            document = {"status": "failed", "fault": _fault(refusal.detail)}
            return refusal.status, "action", document
        return (
            200,
            "action",
            {"status": "complete", "job": reference("jobs", job), "vm": reference("vms", known)},
        )


def _members(found: Collection) -> Document:
    return {found.element: found.items}


def _fault(detail: str, reason: str = "Operation Failed") -> Document:
    return {"reason": reason, "detail": detail}


def _denied(code: str, text: str) -> Answer:
    return json_answer({"error_code": code, "error": text}, 400)


def _rendered(status: int, element: str, document: Document, *, as_json: bool) -> Answer:
    headers = {"Location": str(document["href"])} if status == 201 else {}
    if as_json:
        return Answer(status, render.as_json(document), "application/json", headers)
    return Answer(status, render.as_xml(element, document), "application/xml;charset=UTF-8", headers)
