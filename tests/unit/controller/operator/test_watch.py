"""The controller's watches over HTTP, against a server that has pages, watches and faults."""

from __future__ import annotations

import json
import queue
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from controller.operator import watch
from controller.operator.options import Options, V2vOptions
from controller.operator.watch import Watches
from steps.model import names
from steps.model.kinds import IMPORT, RESOURCE_MAPPING, SOURCES, V2V_IMPORT, WORKFLOW, Kind
from steps.model.sources import SourceKind
from steps.runtime import kubeapi
from steps.runtime.cluster import SMALL_PAGE
from tests.forwardproxy import Forward, forward
from tests.serving import serving

__all__ = ["forward"]

Object = dict[str, Any]
SECONDS: Final = 30.0
"""How long an event may take on a machine under load."""
OVA: Final = SOURCES[SourceKind.OVA]


def an_object(name: str, *, labels: Mapping[str, str] | None = None, size: int = 0) -> Object:
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "labels": dict(labels or {})}
    return {"metadata": metadata, "spec": {"folder": "x" * size}}


def resource_of(path: str) -> str:
    """`Kind.resource` of a path: two groups have a kind with the same plural."""
    return f"{path.rpartition('/')[2]}.{path.split('/')[2]}"


@dataclass
class Server:
    """An API server. Objects are listed as they are; `send` gives an event to the watch of a kind."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    """By `Kind.resource`."""
    asked: list[str] = field(default_factory=list)
    """Path and query of each request."""
    refuse: Callable[[str], int] = lambda _path: 0
    """The status with which a request is refused; 0 if it is not."""
    version: int = 100

    def __post_init__(self) -> None:
        self._events: dict[str, queue.Queue[Object | str]] = {}
        self._lock = threading.Lock()

    def send(self, kind: Kind, event: Object | str) -> None:
        """An event; "end" ends the watch, "cut" breaks its connection."""
        if isinstance(event, dict) and event["type"] != "ERROR":
            self.version += 1
            event["object"]["metadata"]["resourceVersion"] = str(self.version)
        self.events(kind.resource).put(event)

    def events(self, resource: str) -> queue.Queue[Object | str]:
        with self._lock:
            return self._events.setdefault(resource, queue.Queue())

    def lists(self, kind: Kind) -> list[dict[str, list[str]]]:
        """The queries of the lists of a kind."""
        return [query for query in self._queries(kind) if "watch" not in query]

    def watches(self, kind: Kind) -> list[str]:
        """The resource versions from which a kind was watched."""
        return [query["resourceVersion"][0] for query in self._queries(kind) if "watch" in query]

    def _queries(self, kind: Kind) -> list[dict[str, list[str]]]:
        parts = [urlsplit(path) for path in list(self.asked)]
        return [parse_qs(part.query) for part in parts if resource_of(part.path) == kind.resource]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers
    server_of_test: Server

    def do_GET(self) -> None:
        server, parts = self.server_of_test, urlsplit(self.path)
        server.asked.append(self.path)
        query, resource = parse_qs(parts.query), resource_of(parts.path)
        status = server.refuse(self.path)
        if status:
            self._answer(status, {"kind": "Status", "message": "refused by the test"})
        elif "watch" in query:
            self._watch(server.events(resource))
        else:
            first, limit = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
            found = server.objects.get(resource, [])
            more = str(first + limit) if first + limit < len(found) else ""
            metadata = {"resourceVersion": str(server.version), "continue": more}
            self._answer(200, {"metadata": metadata, "items": found[first : first + limit]})

    def _answer(self, status: int, document: Object) -> None:
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _watch(self, events: queue.Queue[Object | str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (event := events.get()) not in ("end", "cut"):
            line = (event if isinstance(event, str) else json.dumps(event)).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        if event == "end":
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The API server of KUBECONFIG."""
    made = Server()
    handler = type("Handler", (_Handler,), {"server_of_test": made})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads, http.block_on_close = True, False
    with serving(http):
        cluster = {"server": f"http://127.0.0.1:{http.server_port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setattr(watch, "FIRST_PAUSE", 0.01)
        yield made


class Seen:
    """The events that reached the controller."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Kind, Mapping[str, Any], bool]] = queue.Queue()

    def __call__(self, kind: Kind, resource: Mapping[str, Any], is_deleted: bool) -> None:
        self._queue.put((kind, resource, is_deleted))

    def next(self) -> tuple[Kind, str, bool]:
        kind, resource, is_deleted = self._queue.get(timeout=SECONDS)
        return kind, resource["metadata"]["name"], is_deleted

    def next_object(self) -> Mapping[str, Any]:
        return self._queue.get(timeout=SECONDS)[1]

    def nothing_left(self) -> bool:
        return self._queue.empty()


@contextmanager
def watching(*, on_event: Seen | None = None, **options: Any) -> Iterator[Seen]:
    """All watches run; at the end they must stop."""
    seen = on_event or Seen()
    watches = Watches(kubeapi.connect_once, Options(namespace="vmferry", **options), seen)
    watches.start()
    try:
        yield seen
    finally:
        watches.close()
        watches.join(time.monotonic() + SECONDS)
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("watch-")]
        assert left == []


def event(kind: str, name: str, **more: Any) -> Object:
    return {"type": kind, "object": an_object(name, **more)}


def test_every_page_of_a_list_is_routed_and_then_every_change(server: Server) -> None:
    count = 2 * SMALL_PAGE + 1
    server.objects[IMPORT.resource] = [an_object(f"import-{number}") for number in range(count)]
    with watching() as seen:
        for number in range(count):
            assert seen.next() == (IMPORT, f"import-{number}", False)
        server.send(IMPORT, event("ADDED", "new"))
        assert seen.next() == (IMPORT, "new", False)
        server.send(IMPORT, event("DELETED", "new"))
        assert seen.next() == (IMPORT, "new", True)
    assert [query.get("continue") for query in server.lists(IMPORT)] == [None, ["10"], ["20"]]
    assert server.watches(IMPORT) == ["100"]


def test_a_watch_continues_after_the_last_event_or_bookmark(server: Server) -> None:
    server.objects[OVA.resource] = [an_object("web")]
    with watching() as seen:
        assert seen.next() == (OVA, "web", False)
        server.send(OVA, event("MODIFIED", "web"))
        assert seen.next() == (OVA, "web", False)
        server.send(OVA, "end")
        server.send(OVA, {"type": "BOOKMARK", "object": {"metadata": {}}})
        server.send(OVA, "end")
        server.send(OVA, event("MODIFIED", "web"))
        assert seen.next() == (OVA, "web", False)
        assert seen.nothing_left()
    assert server.watches(OVA) == ["100", "101", "102"]
    assert len(server.lists(OVA)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}},
        {"type": "ERROR", "object": {"code": 500, "reason": "Internal", "message": "etcd"}},
        "this is no event",
        "cut",
    ],
    ids=["expired", "an error", "no event", "a broken connection"],
)
def test_after_a_fault_the_list_shows_what_was_missed(server: Server, fault: Object | str) -> None:
    labels = {names.LABEL_UID: "u", names.LABEL_NAMESPACE: "shop", names.LABEL_NAME: "web", "other": "x"}
    server.objects[IMPORT.resource] = [an_object("old"), an_object("deleted", labels=labels)]
    with watching() as seen:
        assert [seen.next()[1], seen.next()[1]] == ["old", "deleted"]
        server.objects[IMPORT.resource] = [an_object("new"), an_object("old")]
        server.send(IMPORT, fault)
        assert [seen.next(), seen.next()] == [(IMPORT, "new", False), (IMPORT, "old", False)]
        found = seen.next_object()["metadata"]
        assert (found["name"], found["uid"]) == ("deleted", "uid-deleted")
        assert found["labels"] == {name: labels[name] for name in labels if name != "other"}


def warnings_in(written: Iterable[MutableMapping[str, Any]]) -> list[str]:
    return [entry["event"] for entry in written if entry["log_level"] == "warning"]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_list_that_is_refused_is_tried_again(server: Server, status: int) -> None:
    server.objects[OVA.resource] = [an_object("web")]
    attempts = iter((status, status, status))
    server.refuse = lambda path: next(attempts, 0) if OVA.plural in path else 0
    with capture_logs() as written, watching() as seen:
        assert seen.next() == (OVA, "web", False)
    assert [query.get("limit") for query in server.lists(OVA)] == [[str(SMALL_PAGE)]] * 4
    assert any("listing again in" in message for message in warnings_in(written))


def test_a_kind_that_the_chart_leaves_out_is_no_warning(server: Server) -> None:
    server.objects[V2V_IMPORT.resource] = [an_object("web")]
    attempts = iter((404, 404, 404))
    server.refuse = lambda path: (
        next(attempts, 0) if resource_of(urlsplit(path).path) == V2V_IMPORT.resource else 0
    )
    with capture_logs() as written, watching() as seen:
        assert seen.next() == (V2V_IMPORT, "web", False)
    assert len(server.lists(V2V_IMPORT)) == 4
    assert warnings_in(written) == []


def test_an_api_that_is_turned_off_is_not_watched() -> None:
    kinds = {one.kind for one in watch.watched(Options())}
    off = {one.kind for one in watch.watched(Options(v2v=V2vOptions(enabled=False)))}
    assert kinds - off == {V2V_IMPORT, RESOURCE_MAPPING}


def test_the_pauses_grow_where_lists_are_allowed_and_watches_are_not(server: Server) -> None:
    server.objects[OVA.resource] = [an_object("web")]
    server.refuse = lambda path: 403 if OVA.plural in path and "watch=" in path else 0
    with capture_logs() as written, watching() as seen:
        for _ in range(4):
            assert seen.next() == (OVA, "web", False)
    said = " ".join(warnings_in(written))
    assert [pause for pause in ("0.01", "0.02", "0.04") if f"listing again in {pause} s" not in said] == []


def test_a_failure_with_one_object_does_not_hide_the_others(server: Server) -> None:
    class Failing(Seen):
        def __call__(self, kind: Kind, resource: Mapping[str, Any], is_deleted: bool) -> None:
            if resource["metadata"]["name"] == "bad":
                raise ValueError("a fault of ours")
            super().__call__(kind, resource, is_deleted)

    server.objects[IMPORT.resource] = [an_object("bad"), an_object("good")]
    with watching(on_event=Failing()) as seen:
        assert seen.next() == (IMPORT, "good", False)


def test_each_namespace_of_the_installation_is_watched_and_no_other(server: Server) -> None:
    with watching(namespaces=("shop", "bank")) as seen:
        for kind in (IMPORT, *SOURCES.values()):
            server.send(kind, event("ADDED", "one"))
            assert seen.next() == (kind, "one", False)
    places = {urlsplit(path).path.split("/namespaces/")[1].split("/")[0] for path in server.asked}
    assert places == {"shop", "bank", "vmferry"}


def test_only_workflows_of_vmferry_are_watched(server: Server) -> None:
    with watching() as seen:
        server.send(WORKFLOW, event("ADDED", "vmi-web"))
        assert seen.next() == (WORKFLOW, "vmi-web", False)
    ours = [path for path in server.asked if urlsplit(path).path.endswith(WORKFLOW.plural)]
    assert {parse_qs(urlsplit(path).query)["labelSelector"][0] for path in ours} == {names.LABEL_UID}
    assert all("/namespaces/vmferry/" in path for path in ours)


def test_large_objects_need_little_memory(server: Server) -> None:
    size, count = 300_000, 8 * SMALL_PAGE
    server.objects[IMPORT.resource] = [an_object(f"import-{number}", size=size) for number in range(count)]

    class Counting(Seen):
        def __call__(self, kind: Kind, resource: Mapping[str, Any], is_deleted: bool) -> None:
            super().__call__(kind, {"metadata": resource["metadata"]}, is_deleted)

    tracemalloc.start()
    try:
        with watching(on_event=Counting()) as seen:
            for _ in range(count):
                seen.next()
            _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A page as JSON at the server and here, as text, and as objects; the whole list is eight times as much.
    assert most - size < 6 * SMALL_PAGE * size


def test_requests_to_the_api_server_use_no_proxy(
    server: Server, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, forward.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.objects[IMPORT.resource] = [an_object("web")]
    with watching() as seen:
        assert seen.next() == (IMPORT, "web", False)
    assert forward.asked == []
