"""A fake of the two protocols: an engine that knows what the provider asks, and ovirt-imageio with ranges.

It exists for answers that no real server gives, and for tests that must not wait. How the real ones behave is
tested in tests/real/providers/ovirt.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.unit.steps.providers.ovirt.documents import CLUSTER, HOST, Json, text, vm

PASSWORD: Final = "secret"  # noqa: S105 - of the fake
BLOCK: Final = 1 << 16


@dataclass
class Reply:
    """An answer that a test wants: `cut` closes the connection after so many bytes of it."""

    status: int = 200
    body: bytes = b"{}"
    cut: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


Hook = Callable[[str, str], Reply | None]


@dataclass
class Transfer:
    """An image transfer; each read of it advances its phase."""

    id: str
    disk: str
    idle: str
    phase: str = "initializing"
    host: str = ""


class Fake(ThreadingHTTPServer):
    """An engine with one VM of two disks, and its daemon, at one address."""

    daemon_threads = True
    request_queue_size = 128  # with the default of 5 a busy computer drops connections of parallel readers

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self.server_address[1])
        self.lock = threading.RLock()
        self.vms: list[Json] = [vm()]
        self.tags: list[str] = []
        self.lists: dict[str, list[Json]] = {
            "clusters": [{"id": CLUSTER, "name": "Default", "bios_type": "q35_ovmf"}],
            "networks": [{"id": "net-1", "name": "red"}],
            "vnicprofiles": [{"id": "profile-1", "name": "fast", "network": {"id": "net-1"}}],
            "storagedomains": [{"id": "domain-1", "name": "data"}],
            "hosts": [{"id": HOST, "address": "localhost", "status": "up", "cluster": {"id": CLUSTER}}],
        }
        self.content: dict[str, bytes] = {}
        self.transfers: dict[str, Transfer] = {}
        self.version = {"major": 4, "minor": 5, "full_version": "4.5.6"}
        self.shutdown_polls = 1
        self.is_admin = True
        self.hook: Hook = lambda method, path: None
        self.asked: list[str] = []
        """Method and path of each call; of a range also the range."""
        self.bodies: list[Json] = []
        self.sent = 0
        """Bytes of disks that were sent."""
        self.tokens: set[str] = set()
        self._down_in: dict[str, int] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/ovirt-engine/api"

    def live(self) -> list[Transfer]:
        """The transfers that lock a disk."""
        return [one for one in self.transfers.values() if not one.phase.startswith("finished")]

    def actions(self) -> list[str]:
        """The calls that change something."""
        posts = [call.split()[1] for call in self.asked if call.startswith("POST") and "/api/" in call]
        return [path.removeprefix("/ovirt-engine/api") for path in posts]

    def handle_error(self, *_: Any) -> None:
        """Many tests have clients that hang up."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    # The engine.

    def get(self, path: str, query: dict[str, str]) -> Reply:  # noqa: PLR0911 - one line for each path
        parts = path.strip("/").split("/")
        match parts:
            case [""]:
                return _json({"product_info": {"name": "oVirt Engine", "version": self.version}})
            case ["vms"]:
                return _json({"vm": self._searched(query)})
            case ["vms", known]:
                found = next((one for one in self.vms if one["id"] == known), None)
                return _json(self._look(found)) if found else _fault(404, "")
            case ["vms", _, "tags"]:
                return _json(
                    {"tag": [{"id": f"id-{name}", "name": name} for name in self.tags]} if self.tags else {}
                )
            case ["vms", known, "nics"]:
                return _json(next(one for one in self.vms if one["id"] == known)["nics"])
            case ["imagetransfers", *rest]:
                return self._transfers(rest)
            case [name] if name in self.lists:
                return _json({_ITEMS[name]: self.lists[name]})
        return _fault(404, "")

    def _transfers(self, known: list[str]) -> Reply:
        if known:
            transfer = self.transfers.get(known[0])
            return _json(self._advance(transfer)) if transfer else _fault(404, "")
        if not self.is_admin:
            return _fault(400, "[query execution failed due to insufficient permissions.]")
        return _json({"image_transfer": [self._shown(one) for one in self.transfers.values()]})

    def _searched(self, query: dict[str, str]) -> list[Json]:
        search, size = query.get("search", ""), int(query.get("max", "1000"))
        named = re.search(r'name="([^"]*)"', search)
        page = re.search(r"page (\d+)", search)
        found = [one for one in self.vms if not named or one["name"].lower() == named[1].lower()]
        first = (int(page[1]) - 1) * size if page else 0
        return found[first : first + size]

    def _look(self, found: Json) -> Json:
        if found["status"] == "powering_down":
            self._down_in[found["id"]] = self._down_in.get(found["id"], self.shutdown_polls) - 1
            if self._down_in[found["id"]] < 0:
                found["status"] = "down"
        return found

    def post(self, path: str, body: Json) -> Reply:
        self.bodies.append(body)
        match path.strip("/").split("/"):
            case ["vms", _, "tags"]:
                if all(tag["name"] != body["name"] for tag in self.lists.get("tags", ())):
                    return _fault(404, "Entity not found: Tag")
                self.tags.append(body["name"])
                return _json({"id": f"id-{body['name']}", **body}, status=201)
            case ["vms", known, action]:
                return self._power(next(one for one in self.vms if one["id"] == known), action)
            case ["imagetransfers"]:
                return self._new_transfer(body)
            case ["imagetransfers", known, action]:
                transfer = self.transfers.get(known)
                if transfer is not None and not transfer.phase.startswith("finished"):
                    transfer.phase = {"cancel": "cancelled_user", "finalize": "finalizing_success"}[action]
                return _json({"status": "complete"})
            case _:
                return _fault(404, "")

    def put(self, path: str, body: Json) -> Reply:
        match path.strip("/").split("/"):
            case ["vms", known]:
                next(one for one in self.vms if one["id"] == known).update(body)
            case ["vms", known, "nics", nic]:
                vm = next(one for one in self.vms if one["id"] == known)
                next(one for one in vm["nics"]["nic"] if one["id"] == nic).update(body)
            case _:
                return _fault(404, "")
        return _json(body)

    def delete(self, path: str) -> Reply:
        match path.strip("/").split("/"):
            case ["vms", _, "tags", tag] if tag.removeprefix("id-") in self.tags:
                self.tags.remove(tag.removeprefix("id-"))
                return _json({})
        return _fault(404, "")

    def _power(self, found: Json, action: str) -> Reply:
        if found["status"] == "down":
            return _fault(409, "[Cannot shutdown VM. VM is not running.]")
        found["status"] = "down" if action == "stop" else "powering_down"
        return _json({"status": "complete"})

    def _new_transfer(self, body: Json) -> Reply:
        disk = body["disk"]["id"]
        owner = next((one for one in self.vms if disk in json.dumps(one)), None)
        if owner is not None and owner["status"] != "down":
            return _fault(409, "[Cannot transfer Virtual Disk. The disk is plugged to non-Down VMs: web]")
        if any(one.disk == disk for one in self.live()):
            return _fault(409, "[Cannot transfer Virtual Disk: The following disks are locked: system.]")
        transfer = Transfer(str(uuid.uuid4()), disk, body["inactivity_timeout"])
        transfer.host = body.get("host", {}).get("id", "")
        self.transfers[transfer.id] = transfer
        return _json(self._shown(transfer), status=201)

    def _advance(self, transfer: Transfer) -> Json:
        shown = self._shown(transfer)
        after = {
            "initializing": "transferring",
            "finalizing_success": "finished_success",
            "cancelled_user": "finalizing_cleanup",
            "finalizing_cleanup": "finished_failure",
            "cancelled_system": "finished_failure",
        }
        transfer.phase = after.get(transfer.phase, transfer.phase)
        return shown

    def _shown(self, transfer: Transfer) -> Json:
        url = f"https://localhost:{self.port}/images/{transfer.id}"
        return {
            "id": transfer.id,
            "phase": transfer.phase,
            "direction": "download",
            "inactivity_timeout": transfer.idle,
            "image": {"id": transfer.disk},
            "transfer_url": url,
            "proxy_url": url,
        }

    # The daemon.

    def image(self, ticket: str, kind: str, wanted: str) -> Reply:
        transfer = self.transfers.get(ticket)
        if ticket == "*":
            return _OPTIONS
        if transfer is None or transfer.phase != "transferring":
            return Reply(403, b"")
        content = self.content[transfer.disk]
        if kind == "OPTIONS":
            return _OPTIONS
        if kind == "extents":
            return Reply(200, json.dumps(extents(content)).encode())
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if found is None or int(found[2]) >= len(content):
            return Reply(416, b"")
        start, end = int(found[1]), int(found[2]) + 1
        self.sent += end - start
        return Reply(
            206, content[start:end], headers={"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        )


def extents(content: bytes) -> list[Json]:
    """The map of a disk as the daemon shows it, in blocks."""
    found: list[Json] = []
    for start in range(0, len(content), BLOCK):
        block = content[start : start + BLOCK]
        zero = not any(block)
        if found and found[-1]["zero"] == zero:
            found[-1]["length"] += len(block)
        else:
            found.append({"start": start, "length": len(block), "zero": zero, "hole": zero})
    return found


_OPTIONS: Final = Reply(200, b'{"features": ["extents"], "max_readers": 8}')
_ITEMS: Final = {
    "clusters": "cluster",
    "networks": "network",
    "vnicprofiles": "vnic_profile",
    "storagedomains": "storage_domain",
    "hosts": "host",
    "tags": "tag",
}


def _json(document: Json, status: int = 200) -> Reply:
    return Reply(status, json.dumps(text(document)).encode())


def _fault(status: int, detail: str) -> Reply:
    body = json.dumps({"reason": "Operation Failed", "detail": detail}).encode() if detail else b""
    return Reply(status, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers
    server: Fake

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def do_OPTIONS(self) -> None:
        self._answer("OPTIONS")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        wanted = self.headers.get("Range", "")
        with self.server.lock:
            self.server.asked.append(f"{method} {parts.path} {wanted}".strip())
            reply = self.server.hook(method, self.path) or self._reply(method, parts.path, parts.query, body)
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut])
        self.close_connection = self.close_connection or reply.cut is not None

    def _reply(self, method: str, path: str, query: str, body: bytes) -> Reply:
        server = self.server
        if path.startswith("/images/"):
            ticket, _, kind = path.removeprefix("/images/").partition("/")
            return server.image(ticket, kind or method, self.headers.get("Range", ""))
        if "/api" not in path:
            return self._session(path, parse_qs(body.decode()))
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in server.tokens:
            return Reply(401, b"")
        below = unquote(path.removeprefix("/ovirt-engine/api"))
        if method in ("POST", "PUT"):
            return (server.post if method == "POST" else server.put)(below, json.loads(body))
        if method == "DELETE":
            return server.delete(below)
        return server.get(below, {key: value[0] for key, value in parse_qs(query).items()})

    def _session(self, path: str, form: dict[str, list[str]]) -> Reply:
        if path.endswith("/services/sso-logout"):
            self.server.tokens -= set(form["token"])
            return _json({})
        if form["password"] != [PASSWORD]:
            return Reply(
                400, b'{"error": "access_denied", "error_code": "Cannot authenticate user x@internal"}'
            )
        token = str(uuid.uuid4())
        self.server.tokens.add(token)
        return _json({"access_token": token})
