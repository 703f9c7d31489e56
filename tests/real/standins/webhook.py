"""Harvester's webhook for images, VirtualMachines and claims, over TLS at the host's end of the lab's
network.

harvester v1.6.0, pkg/webhook/server/server.go: a mutator that does not answer is ignored, a validator is not.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind, Object
from tests.real.standins.admission import Rules
from tests.real.standins.api import MUTATING, VALIDATING, Api
from tests.real.standins.refusal import Refused
from tests.tls import self_signed

NAME: Final = "vmferry-standins"
CONFIGURATIONS: Final = {
    VALIDATING: ("harvester-validator", "virt-api-validator"),
    MUTATING: ("harvester-mutator", "virt-api-mutator"),
}
"""The webhooks of Harvester and KubeVirt themselves (tests/real/harvester)."""


class Server(ThreadingHTTPServer):
    """Answers AdmissionReviews at /mutate and /validate."""

    daemon_threads = True

    def __init__(self, address: str, rules: Rules, folder: Path) -> None:
        super().__init__((address, 0), Handler)
        self.rules = rules
        own = self_signed(folder, "webhook", f"IP:{address}", days=30)
        self.certificate = own.certificate.read_bytes()
        self.socket = own.server().wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return f"https://{self.server_address[0]!s}:{self.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """One review."""

    protocol_version = "HTTP/1.1"

    disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers
    timeout = 60
    server: Server

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        answer: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        try:
            if self.path.startswith("/mutate"):
                patch = json.dumps(self.server.rules.mutate(request)).encode()
                answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
            else:
                self.server.rules.validate(request)
        except Refused as error:
            answer |= {"allowed": False, "status": error.status}
        self._send(json.dumps({**review, "response": answer}).encode())

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def own_address(host: str) -> str:
    """The address of this computer that `host` sees."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.connect((host, 443))
        return str(wire.getsockname()[0])


def configurations(server: Server) -> list[Object]:
    both = ["CREATE", "UPDATE"]
    changed = [("images", IMAGE, both), ("machines", MACHINE, both), ("claims", CLAIM, ["CREATE"])]
    checked = [
        ("images", IMAGE, [*both, "DELETE"]),
        ("machines", MACHINE, both),
        ("claims", CLAIM, ["CREATE", "DELETE"]),
    ]
    mutators = [_webhook(server, "mutate", "Ignore", *one) for one in changed]
    validators = [_webhook(server, "validate", "Fail", *one) for one in checked]
    return [_configuration(MUTATING, mutators), _configuration(VALIDATING, validators)]


def _configuration(kind: Kind, webhooks: list[Object]) -> Object:
    named = {"apiVersion": kind.api_version, "kind": kind.kind}
    return {**named, "metadata": {"name": NAME}, "webhooks": webhooks}


def _webhook(server: Server, verb: str, policy: str, name: str, kind: Kind, operations: list[str]) -> Object:
    rule = {
        "apiGroups": [kind.group],
        "apiVersions": [kind.api_version.rpartition("/")[2]],
        "resources": [kind.plural],
        "operations": operations,
        "scope": "Namespaced",
    }
    return {
        "name": f"{name}.{verb}.{NAME}.test",
        "clientConfig": {
            "url": f"{server.url}/{verb}",
            "caBundle": base64.b64encode(server.certificate).decode(),
        },
        "rules": [rule],
        "failurePolicy": policy,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 10,
    }


def install(api: Api, server: Server) -> None:
    server.start()
    for one in configurations(server):
        api.apply(one)
    logging.getLogger("standins").info("webhook at %s", server.url)


def remove(api: Api) -> None:
    """Remove our webhooks, Harvester's and KubeVirt's: requests to a missing webhook are refused.

    It runs at an orderly end, and before a start, as a killed run leaves them.
    """
    for kind, names in CONFIGURATIONS.items():
        for name in (NAME, *names):
            api.delete({**_configuration(kind, []), "metadata": {"name": name}})
