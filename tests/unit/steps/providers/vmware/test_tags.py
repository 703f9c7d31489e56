"""The tags of VMs over an API that may refuse, break off, or answer anything."""

from __future__ import annotations

import http.server
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pytest

from steps.model.contract import Exit, NoAnswerError, StepError, Stopped
from steps.model.machine import Tag
from steps.providers.vmware import collector, tags
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.endpoint import Endpoint
from steps.providers.vmware.session import Session
from steps.runtime import certificates
from steps.runtime.stop import Stop
from tests.serving import serving
from tests.tls import self_signed
from tests.unit.builders import a_machine

PROD, WAVE = "urn:vmomi:InventoryServiceTag:1:GLOBAL", "urn:vmomi:InventoryServiceTag:2:GLOBAL"
CATEGORY = "urn:vmomi:InventoryServiceCategory:9:GLOBAL"
BASE = "/rest/com/vmware/cis"
NEW_BASE = "/api/cis"


class Api(http.server.ThreadingHTTPServer):
    """Answers as the Automation API does; `special` replaces the answer to a path by a status and a body.

    Unless `is_new`, it is that of a vCenter before 7.0 U2.
    """

    def __init__(self, context: ssl.SSLContext, *, is_new: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.is_new = is_new
        self.session = "/api/session" if is_new else f"{BASE}/session"
        base, mark = (NEW_BASE, "") if is_new else (BASE, "id:")
        self.attached: dict[str, list[str]] = {"vm-1": [WAVE, PROD], "vm-3": [PROD]}
        self.named: dict[str, dict[str, Any]] = {
            f"{base}/tagging/tag/{mark}{PROD}": {"name": "prod", "category_id": CATEGORY},
            f"{base}/tagging/tag/{mark}{WAVE}": {"name": "wave 1", "category_id": CATEGORY},
            f"{base}/tagging/category/{mark}{CATEGORY}": {"name": "env"},
        }
        self.special: dict[str, tuple[int, bytes]] = {}
        self.calls: list[str] = []
        self.hooks: dict[str, Callable[[], None]] = {}
        """What happens when a path is requested, before the answer."""
        self.sessions: set[str] = set()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.server.calls.append(f"{self.command} {path.removeprefix(BASE)}")
        self.server.hooks.get(path, lambda: None)()
        status, answer = self.server.special.get(path) or self._answer(path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:  # noqa: PLR0911 - one for each call
        server = self.server
        if path.startswith("/api/") is not server.is_new:
            return 404, b"<html>"
        if path == server.session and self.command == "POST":
            if self.headers["Authorization"] != "Basic dTpw":
                return 401, b""
            server.sessions.add("token")
            return self._result("token")
        if self.headers["vmware-api-session-id"] not in server.sessions:
            return 401, b""
        if path == server.session:
            server.sessions.clear()
            return 200, b""
        if self.command == "GET" and path.endswith("/tagging/tag"):
            return self._result([PROD, WAVE])
        if "/tag-association/" in path:
            return self._associated(path, json.loads(body)["object_id"]["id"])
        if path.endswith("/tag-association"):
            assert ("?~action=" in self.path) is not server.is_new
            asked = [one["id"] for one in json.loads(body)["object_ids"]]
            found = [
                {"object_id": {"id": vm, "type": "VirtualMachine"}, "tag_ids": server.attached.get(vm, [])}
                for vm in asked
            ]
            return self._result(found)
        named = server.named.get(path)
        return (404, b"") if named is None else self._result(named)

    def _associated(self, path: str, vm: str) -> tuple[int, bytes]:
        tag = unquote(path.rpartition("/")[2].removeprefix("id:"))
        tags_of_vm = self.server.attached.setdefault(vm, [])
        if self.path.endswith("action=attach") and tag not in tags_of_vm:
            tags_of_vm.append(tag)
        if self.path.endswith("action=detach") and tag in tags_of_vm:
            tags_of_vm.remove(tag)
        return (204 if self.server.is_new else 200), b""

    def _result(self, value: Any) -> tuple[int, bytes]:
        return 200, json.dumps(value if self.server.is_new else {"value": value}).encode()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = self_signed(tmp_path, shown_for="IP:127.0.0.1")
    with serving(Api(made.server())) as server:
        yield server


@pytest.fixture
def new_api(tmp_path: Path) -> Iterator[Api]:
    made = self_signed(tmp_path, shown_for="IP:127.0.0.1")
    with serving(Api(made.server(), is_new=True)) as server:
        yield server


class About:
    class about:  # noqa: N801 - the names of vSphere's ServiceContent
        apiType = "VirtualCenter"  # noqa: N815


class Host:
    class about:  # noqa: N801
        apiType = "HostAgent"  # noqa: N815


def a_session(api: Api, tmp_path: Path, content: object = About, stop: Stop | None = None) -> Session:
    endpoint = Endpoint("127.0.0.1", api.server_address[1])
    tls = certificates.tls_context(ca=(tmp_path / "server.crt").read_text())
    return Session(
        endpoint=endpoint,
        tls=tls,
        insecure=False,
        stop=stop or Stop(),
        user_agent="test",
        stub=None,
        content=content,
        user="u",
        key="k",
    )


LOGIN = Credentials(username="u", password="p")  # noqa: S106 - of the stand-in
GUESS = Credentials(username="u", password="guess")  # noqa: S106


def read(api: Api, tmp_path: Path, *vms: str, login: Credentials = LOGIN, **more: Any) -> tags.VmTags:
    found = tags.read(a_session(api, tmp_path, **more), login, vms)
    assert not api.sessions
    return found


ENV_PROD, ENV_WAVE = Tag(name="env", value="prod"), Tag(name="env", value="wave 1")


def test_the_tags_of_many_vms_come_with_one_request(api: Api, tmp_path: Path) -> None:
    found = read(api, tmp_path, "vm-1", "vm-2", "vm-3")
    assert found == tags.VmTags({"vm-1": (ENV_PROD, ENV_WAVE), "vm-3": (ENV_PROD,)})
    assert found.of("vm-2") == ()
    assert api.calls == [
        "POST /api/session",
        "POST /session",
        "POST /tagging/tag-association",
        f"GET /tagging/tag/id:{WAVE}",
        f"GET /tagging/category/id:{CATEGORY}",
        f"GET /tagging/tag/id:{PROD}",
        "DELETE /session",
    ]


def test_more_vms_than_one_request_takes_are_all_asked_for(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "BATCH", 2)
    assert set(read(api, tmp_path, "vm-1", "vm-2", "vm-3").by_vm) == {"vm-1", "vm-3"}
    assert api.calls.count("POST /tagging/tag-association") == 2


def test_a_tag_that_was_deleted_meanwhile_is_left_out(api: Api, tmp_path: Path) -> None:
    del api.named[f"{BASE}/tagging/tag/id:{WAVE}"]
    assert read(api, tmp_path, "vm-1").of("vm-1") == (ENV_PROD,)


def test_a_host_without_vcenter_is_not_asked(api: Api, tmp_path: Path) -> None:
    assert read(api, tmp_path, "vm-1", content=Host).unknown == "a stand-alone ESXi host has no tags"
    assert api.calls == []


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/session", 403, b""),
        ("/session", 404, b"<html>"),
        ("/session", 302, b""),
        ("/session", 200, b"<html>"),
        ("/session", 200, b"{}"),
        ("/session", 200, b'{"value": "a\\r\\nX: b"}'),
        ("/session", 200, b'{"value": ["a"]}'),
        ("/tagging/tag-association", 500, b""),
        ("/tagging/tag-association", 403, b"{}"),
        ("/tagging/tag-association", 200, b'{"value": [1]}'),
        ("/tagging/tag-association", 200, b'{"value": [{"tag_ids": ["a"]}]}'),
        ("/tagging/tag-association", 200, b'{"value": [{"object_id": 5, "tag_ids": ["a"]}]}'),
        ("/tagging/tag-association", 200, b'{"value": [{"tag_ids": "a"}]}'),
        (f"/tagging/tag/id:{PROD}", 403, b""),
        (f"/tagging/tag/id:{PROD}", 200, b'{"value": {"name": ""}}'),
        (f"/tagging/tag/id:{PROD}", 200, b'{"value": {"name": {}}}'),
        (f"/tagging/category/id:{CATEGORY}", 200, b"["),
    ],
)
def test_an_answer_that_cannot_be_used_leaves_the_tags_unknown_with_the_reason(
    api: Api, tmp_path: Path, path: str, status: int, body: bytes
) -> None:
    api.special[BASE + path] = (status, body)
    found = tags.read(a_session(api, tmp_path), LOGIN, ["vm-1"])
    assert found.by_vm == {}
    assert found.unknown


def test_a_wrong_password_is_tried_once_and_not_shown(api: Api, tmp_path: Path) -> None:
    found = read(api, tmp_path, "vm-1", login=GUESS)
    assert found.unknown
    assert "guess" not in found.unknown
    assert api.calls == ["POST /api/session", "POST /session"]


def test_a_newer_vcenter_is_asked_in_the_newer_form(new_api: Api, tmp_path: Path) -> None:
    found = read(new_api, tmp_path, "vm-1", "vm-2", "vm-3")
    assert found == tags.VmTags({"vm-1": (ENV_PROD, ENV_WAVE), "vm-3": (ENV_PROD,)})
    assert [call for call in new_api.calls if "/rest/" in call] == []


def test_a_wrong_password_is_tried_once_at_a_newer_vcenter(new_api: Api, tmp_path: Path) -> None:
    assert read(new_api, tmp_path, "vm-1", login=GUESS).unknown
    assert new_api.calls == ["POST /api/session"]


def test_an_unreachable_api_leaves_the_tags_unknown(api: Api, tmp_path: Path) -> None:
    session = a_session(api, tmp_path)
    api.server_close()
    assert "cannot read the tags" in tags.read(session, LOGIN, ["vm-1"]).unknown


def test_a_vcenter_with_too_many_tags_is_not_asked_for_each(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "MOST_TAGS", 1)
    assert "2 different tags" in read(api, tmp_path, "vm-1").unknown
    assert not [call for call in api.calls if "/tag/" in call]


def test_an_id_of_a_tag_cannot_leave_its_path(api: Api, tmp_path: Path) -> None:
    api.attached = {"vm-1": ["../../session?x=1#y", "a b\r\nX: y"]}
    assert read(api, tmp_path, "vm-1").of("vm-1") == ()
    assert [call for call in api.calls if call.startswith("GET")] == [
        "GET /tagging/tag/id:..%2F..%2Fsession%3Fx%3D1%23y",
        "GET /tagging/tag/id:a%20b%0D%0AX:%20y",
    ]


@pytest.mark.parametrize("path", ["/session", "/tagging/tag-association", f"/tagging/tag/id:{PROD}"])
def test_a_stop_ends_the_session_too(api: Api, tmp_path: Path, path: str) -> None:
    stop = Stop()
    api.hooks[BASE + path] = stop.set
    with pytest.raises(Stopped):
        read(api, tmp_path, "vm-1", stop=stop)
    assert not api.sessions
    assert "POST /session" in api.calls


def test_nothing_is_asked_after_a_stop(api: Api, tmp_path: Path) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        read(api, tmp_path, "vm-1", stop=stop)
    assert api.calls == []


# --- the tags of one VM, which an import needs


class Field:
    def __init__(self, key: int, name: str) -> None:
        self.key, self.name = key, name


class Value:
    def __init__(self, key: int, value: str) -> None:
        self.key, self.value = key, value


@pytest.fixture(params=[False, True], ids=["older", "newer"])
def either(request: pytest.FixtureRequest) -> Api:
    made: Api = request.getfixturevalue("new_api" if request.param else "api")
    return made


@pytest.fixture(autouse=True)
def attributes(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The custom attributes of the VM and of the server, over the other API."""
    row: dict[str, list[Any]] = {}
    monkeypatch.setattr(collector, "read_one", lambda *_: row)
    monkeypatch.setattr(Session, "vm", lambda *_: None)
    return row


def of_vm(api: Api, tmp_path: Path) -> tuple[Tag, ...]:
    try:
        return tags.of_vm(a_session(api, tmp_path), LOGIN, a_machine(source_id="vm-1"))
    finally:
        assert not api.sessions


def test_an_import_gets_the_tags_of_its_vm(either: Api, tmp_path: Path) -> None:
    assert of_vm(either, tmp_path) == (ENV_PROD, ENV_WAVE)
    assert sum("/category/" in call for call in either.calls) == 1


def test_custom_attributes_are_tags_too(api: Api, tmp_path: Path, attributes: dict[str, list[Any]]) -> None:
    attributes["availableField"] = [Field(1, "Owner"), Field(2, "Empty")]
    attributes["customValue"] = [Value(1, "shop"), Value(2, ""), Value(3, "of a deleted field")]
    assert of_vm(api, tmp_path) == (Tag(name="Owner", value="shop"), ENV_PROD, ENV_WAVE)


def test_an_import_from_a_host_has_no_tags(api: Api, tmp_path: Path) -> None:
    assert tags.of_vm(a_session(api, tmp_path, Host), LOGIN, a_machine()) == ()
    assert api.calls == []


def test_only_some_of_very_many_tags_of_a_vm_are_read(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "MOST_TAGS_OF_VM", 1)
    assert of_vm(api, tmp_path) == (ENV_WAVE,)


@pytest.mark.parametrize(
    ("status", "code"), [(401, Exit.DENIED), (403, Exit.DENIED), (503, Exit.UNREACHABLE)]
)
def test_an_import_is_refused_the_tags(either: Api, tmp_path: Path, status: int, code: Exit) -> None:
    base = NEW_BASE if either.is_new else BASE
    either.special[f"{base}/tagging/tag-association"] = (status, b"{}")
    with pytest.raises(StepError, match=r"remove spec\.virtualMachine\.tagLabels") as caught:
        of_vm(either, tmp_path)
    assert caught.value.code is code


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"{}", b'"text"', b"[" * 100_000, b"\xff", b"[1, {}]", b'{"value": 5}'),
        b"[]" + b" " * tags.MOST_BYTES_OF_VM,
    ],
    ids=["empty", "null", "object", "text", "deep", "no text", "mixed", "number", "long"],
)
def test_an_answer_that_cannot_be_used_is_an_error_of_the_import_and_not_an_empty_list(
    either: Api, tmp_path: Path, body: bytes
) -> None:
    base = NEW_BASE if either.is_new else BASE
    either.special[f"{base}/tagging/tag-association"] = (200, body)
    with pytest.raises(StepError, match="cannot read the tags of the VM"):
        of_vm(either, tmp_path)


# --- the tag of a mark

VM_3: Final = a_machine(source_id="vm-3")
"""It has the tag prod, not wave 1."""


def checked(api: Api, tmp_path: Path, tag: str = "env:wave 1") -> None:
    try:
        tags.check_attachable(a_session(api, tmp_path), LOGIN, VM_3, tag)
    finally:
        assert not api.sessions


def category(api: Api) -> dict[str, Any]:
    """The category, for a change."""
    return next(found for path, found in api.named.items() if "/category/" in path)


def test_a_tag_is_attached_and_detached_in_both_forms(either: Api, tmp_path: Path) -> None:
    for present, wanted in ((True, [PROD, WAVE]), (False, [PROD])):
        for _ in range(2):
            session = a_session(either, tmp_path)
            tags.set_tag(session, LOGIN, VM_3, "wave 1", present=present)
            assert either.attached["vm-3"] == wanted
            assert tags.has_tag(session, LOGIN, VM_3, "env:wave 1") is present
    assert tags.has_tag(a_session(either, tmp_path), LOGIN, VM_3, "prod")
    assert not either.sessions


@pytest.mark.parametrize("types", [[], ["VirtualMachine"], ["HostSystem", "urn:vim25:VirtualMachine"]])
@pytest.mark.parametrize("cardinality", ["MULTIPLE", "SINGLE"])
def test_a_tag_that_the_vm_may_get_is_accepted(
    either: Api, tmp_path: Path, types: list[str], cardinality: str
) -> None:
    category(either).update({"associable_types": types, "cardinality": cardinality})
    if cardinality == "SINGLE":
        either.attached["vm-3"] = [WAVE]  # the tag itself
    checked(either, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"associable_types": ["HostSystem"]}, "its category is not for VMs"),
        ({"cardinality": "SINGLE"}, "its category allows one tag per VM, and the VM has 'prod'"),
    ],
)
def test_a_tag_that_its_category_does_not_allow_is_found_out_before_the_import(
    either: Api, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    category(either).update(change)
    with pytest.raises(StepError, match=words) as caught:
        checked(either, tmp_path)
    assert caught.value.code is Exit.UNSUPPORTED


OLDER = {"type": "invalid_argument", "value": {"messages": [{"default_message": "one tag only", "id": "a"}]}}
NEWER = {"error_type": "INVALID_ARGUMENT", "messages": [{"default_message": "one tag only", "id": "a"}]}


@pytest.mark.parametrize("status", [400, 409, 429, 503])
def test_a_refusal_is_no_outage(either: Api, tmp_path: Path, status: int) -> None:
    """An import would wait for hours for a vCenter that does not answer."""
    base, mark = (NEW_BASE, "") if either.is_new else (BASE, "id:")
    body = json.dumps(NEWER if either.is_new else OLDER).encode()
    either.special[f"{base}/tagging/tag-association/{mark}{WAVE}"] = (status, body)
    with pytest.raises(StepError, match=f"vCenter answers {status}: 'one tag only'") as caught:
        tags.set_tag(a_session(either, tmp_path), LOGIN, VM_3, "wave 1", present=True)
    assert isinstance(caught.value, NoAnswerError) is (status in (429, 503))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"messages": 5}', b'{"value": []}', b'{"messages": [{}]}']
)
def test_a_refusal_without_a_reason_is_still_one(api: Api, tmp_path: Path, body: bytes) -> None:
    api.special[f"{BASE}/tagging/tag-association/id:{WAVE}"] = (400, body)
    with pytest.raises(StepError, match="vCenter answers 400") as caught:
        tags.set_tag(a_session(api, tmp_path), LOGIN, VM_3, "wave 1", present=True)
    assert caught.value.code is Exit.INVALID
