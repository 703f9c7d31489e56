"""A stand-in of a cluster with KubeVirt, over HTTPS: the API server, the exporter and virt-exportproxy.

The state and its controllers are in `cluster`. The exporter answers as that of KubeVirt v1.8.4 does
(pkg/storage/export/virt-exportserver/exportserver.go): `raw` by Go's http.ServeContent with a zero time, so
with ranges and without an ETag or a date; `gzip` as a chunked stream, which is complete gzip even if reading
the volume failed; a wrong token is 401. What it cannot show: a real ingress, and the time that pods take.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.unit.steps.providers.kubevirt.cluster import Cluster, Refusal
from tests.unit.steps.providers.kubevirt.documents import NAMESPACE, Json

TOKEN: Final = "account-token"  # noqa: S105 - of the stand-in
TOKEN_HEADER: Final = "x-kubevirt-export-token"  # noqa: S105 - the name of a header
_PROXY: Final = re.compile(
    r"^/api/export.kubevirt.io/(?:v1alpha1|v1beta1)/namespaces/([^/]+)/virtualmachineexports/([^/]+)/(.*)$"
)
_VERBS: Final = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


@dataclass
class Reply:
    """An answer; `cut` closes the connection after so many bytes of it. `chunked` names no length."""

    status: int = 200
    body: bytes = b"{}"
    cut: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False


Hook = Callable[[str, str], Reply | None]


class StandIn(ThreadingHTTPServer):
    """A cluster with one namespace, at one address."""

    daemon_threads = True
    request_queue_size = 128  # with the default of 5 a busy computer drops connections of parallel readers

    def __init__(self, tls: ssl.SSLContext, certificate: str, cluster: Cluster | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self.server_address[1])
        self.lock = threading.RLock()
        self.cluster = cluster or Cluster()
        self.cluster.internal, self.cluster.certificate = self.url, certificate
        self.content: dict[str, bytes] = {}
        """Bytes of the disks, by claim."""
        self.ranges = True
        self.gzip_ends_at: int | None = None
        """The exporter fails to read the volume there, and ends the stream as if it were complete."""
        self.hook: Hook = lambda method, path: None
        self.done: Hook = lambda method, path: None
        """As `hook`, after a call has had its effect; its reply replaces the answer."""
        self.asked: list[str] = []
        self.sent = 0
        """Bytes of disks that were sent."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def changes(self) -> list[str]:
        """The calls that change something, without dry runs and questions for rights."""
        calls = [call for call in self.asked if not call.startswith("GET")]
        return [call for call in calls if "dryRun" not in call and "accessreviews" not in call]

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

    # --- the API server

    def api(self, method: str, path: str, query: dict[str, list[str]], body: Json) -> Reply:
        try:
            return _json(self._object(method, path, query, body), 201 if method == "POST" else 200)
        except Refusal as refusal:
            status = {"kind": "Status", "reason": refusal.reason, "message": refusal.message}
            return _json(status, refusal.status)

    def _object(  # noqa: PLR0911 - one line for each path
        self, method: str, path: str, query: dict[str, list[str]], body: Json
    ) -> Json:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match parts:
            case ["apis", "kubevirt.io", "v1"]:
                return {"kind": "APIResourceList"}
            case ["apis", "harvesterhci.io", "v1beta1"] if self.cluster.harvester:
                return {"kind": "APIResourceList"}
            case ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]:
                wanted = body["spec"]["resourceAttributes"]
                resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
                return {"status": {"allowed": self.cluster.allows(wanted["verb"], resource)}}
            case ["apis", "kubevirt.io", "v1", "kubevirts"]:
                return self._kubevirts()
            case [
                "apis",
                "subresources.kubevirt.io",
                "v1",
                "namespaces",
                ns,
                "virtualmachines",
                name,
                action,
            ]:
                return self._subresource(method, ns, name, action, body)
            case ["apis", _, _, "namespaces", ns, plural, *rest] if ns == NAMESPACE:
                return self._namespaced(method, plural, rest, query, body)
            case ["api", "v1", "namespaces", ns, plural, *rest] if ns == NAMESPACE:
                return self._namespaced(method, plural, rest, query, body)
        if method == "GET" and parts[-3:-2] == ["namespaces"]:
            return {"items": [], "metadata": {}}  # a list of another namespace is empty
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    def _kubevirts(self) -> Json:
        if not self.cluster.kubevirt_visible:
            raise Refusal(403, "Forbidden", "kubevirts is forbidden: User cannot list resource")
        gates = ["LiveMigration"] + (["VMExport"] if self.cluster.gate else [])
        configuration = {"developerConfiguration": {"featureGates": gates}}
        metadata = {"name": "kubevirt", "namespace": "kubevirt"}
        return {"items": [{"metadata": metadata, "spec": {"configuration": configuration}}], "metadata": {}}

    def _subresource(self, method: str, namespace: str, name: str, action: str, body: Json) -> Json:
        if namespace != NAMESPACE or ("virtualmachines", name) not in self.cluster.objects:
            raise Refusal(404, "NotFound", f'virtualmachine "{name}" not found')
        if action == "expand-spec" and method == "GET":
            return self.cluster.vm
        if not self.cluster.allows("update", f"virtualmachines/{action}"):
            raise Refusal(403, "Forbidden", f'virtualmachines "{name}" is forbidden: cannot {action}')
        if action == "stop":
            self.cluster.stop(body.get("gracePeriod"))
        else:
            self.cluster.start()
        return {}

    def _namespaced(
        self, method: str, plural: str, rest: list[str], query: dict[str, list[str]], body: Json
    ) -> Json:
        verb = "list" if method == "GET" and not rest else _VERBS[method]
        if not self.cluster.allows(verb, plural):
            raise Refusal(403, "Forbidden", f"{plural} is forbidden: User cannot {verb} resource")
        match (method, rest):
            case ("GET", []):
                return self._page(plural, query)
            case ("GET", [name]):
                return self.cluster.get(plural, name)
            case ("POST", []):
                return self.cluster.create(plural, body, dry_run="dryRun" in query)
            case ("PATCH", [name]):
                return self.cluster.patch(plural, name, body)
            case ("DELETE", [name]):
                self.cluster.delete(plural, name, body.get("preconditions", {}).get("uid", ""))
                return {"kind": "Status", "status": "Success"}
            case _:
                raise Refusal(405, "MethodNotAllowed", "the server does not allow this method")

    def _page(self, plural: str, query: dict[str, list[str]]) -> Json:
        found = [one for (kind, _), one in sorted(self.cluster.objects.items()) if kind == plural]
        first, size = int(query.get("continue", ["0"])[0]), int(query.get("limit", ["500"])[0])
        last = first + size
        more = str(last) if last < len(found) else ""
        return {"items": found[first:last], "metadata": {"continue": more} if more else {}}

    # --- the exporter, and virt-exportproxy

    def proxy(self, path: str, token: str, wanted: str) -> Reply:
        match = _PROXY.match(path)
        if match is None:
            return Reply(400, b"")
        export = self.cluster.objects.get(("virtualmachineexports", match[2]))
        if match[1] != NAMESPACE or export is None:
            return Reply(404, b"")
        if export["status"]["phase"] != "Ready":
            return Reply(503, b"")
        return self.volume(f"/{match[3]}", token, wanted)

    def volume(self, path: str, token: str, wanted: str) -> Reply:  # noqa: PLR0911 - one for each route
        match path.strip("/").split("/"):
            case ["volumes", name, *rest]:
                file = "/".join(rest)
            case _:
                return Reply(404, b"")
        if not self._accepts(name, token):
            return Reply(401, b"")
        content = self.content.get(name)
        if content is None:
            return Reply(500, b"")
        if file == "disk.img.gz" and "gzip" in self.cluster.formats:
            read = content[: self.gzip_ends_at]
            self.sent += len(read)
            return Reply(200, gzip.compress(read, 1), chunked=True)
        if file == "disk.img" and "raw" in self.cluster.formats:
            return self._content(content, wanted)
        if file == "dir/disk.img" and "dir" in self.cluster.formats:
            return self._content(content, wanted)
        return Reply(404, b"")

    def _accepts(self, claim: str, token: str) -> bool:
        """The exporter's pod of an export that is ready has its Secret as a file."""
        for (plural, _), export in self.cluster.objects.items():
            if plural != "virtualmachineexports" or export["spec"]["source"]["name"] != claim:
                continue
            secret = self.cluster.objects.get(("secrets", export["spec"]["tokenSecretRef"]))
            is_ready = export["status"]["phase"] == "Ready"
            if secret is not None and is_ready and token == secret["stringData"]["token"]:
                return True
        return False

    def _content(self, content: bytes, wanted: str) -> Reply:
        """As http.ServeContent."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted) if self.ranges else None
        if found is None:
            self.sent += len(content)
            return Reply(200, content, headers={"Accept-Ranges": "bytes"} if self.ranges else {})
        start, end = int(found[1]), int(found[2] or len(content) - 1)
        if start >= len(content):
            return Reply(416, b"", headers={"Content-Range": f"bytes */{len(content)}"})
        end = min(end, len(content) - 1)
        self.sent += end + 1 - start
        shown = f"bytes {start}-{end}/{len(content)}"
        return Reply(206, content[start : end + 1], headers={"Content-Range": shown})


def kubeconfig(server: str, certificate: str, **user: Any) -> str:
    """A kubeconfig for the stand-in, as JSON, which is YAML."""
    ca = base64.b64encode(certificate.encode()).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": ca}}],
            "users": [{"name": "u", "user": {"token": TOKEN, **user}}],
        }
    )


def _json(document: Json, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers
    server: StandIn

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        with self.server.lock:
            self.server.asked.append(f"{self.command} {self.path}")
            reply = self.server.hook(self.command, self.path) or self._reply(parts.path, parts.query, body)
            reply = self.server.done(self.command, self.path) or reply
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", **reply.headers}
        if reply.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif "Content-Length" not in headers:
            headers["Content-Length"] = str(len(reply.body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        sent = reply.body[: reply.cut]
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(sent), sent) if reply.chunked and sent else sent)
        self.close_connection = self.close_connection or reply.cut is not None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names of http.server

    def _reply(self, path: str, query: str, body: bytes) -> Reply:
        token, wanted = self.headers.get(TOKEN_HEADER, ""), self.headers.get("Range", "")
        if path.startswith("/volumes/"):
            return self.server.volume(path, token, wanted)
        if path.startswith("/api/export.kubevirt.io/"):
            return self.server.proxy(path, token, wanted)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _json({"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized"}, 401)
        if path.endswith(("/stop", "/start")) and "*/*" not in self.headers.get("Accept", ""):
            return Reply(406, b"406: Not Acceptable\n\nAvailable representations: ")
        document = json.loads(body) if body else {}
        return self.server.api(self.command, path, parse_qs(query), document)
