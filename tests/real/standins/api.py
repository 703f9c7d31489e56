"""The Kubernetes API for controllers: whole objects by PUT with their resource version, and watches.

It is separate from `steps.runtime.kubeapi`, which has what steps need: a controller must lose a race rather
than overwrite, and a stand-in must not share the code that it tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import urllib3
from kubernetes import config
from kubernetes.client import Configuration

from steps.model.kinds import (
    BACKING_IMAGE,
    CLAIM,
    CRD,
    DATA_VOLUME,
    IMAGE,
    MACHINE,
    NAD,
    POD,
    STORAGE_CLASS,
    Kind,
    Object,
)

INSTANCE: Final = Kind("kubevirt.io/v1", "VirtualMachineInstance", "virtualmachineinstances")
VOLUME: Final = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
MUTATING: Final = Kind(
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
VALIDATING: Final = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)
KINDS: Final = {
    (kind.api_version, kind.kind): kind
    for kind in (
        *(BACKING_IMAGE, CLAIM, CRD, IMAGE, MACHINE, NAD, POD, STORAGE_CLASS),
        *(INSTANCE, DATA_VOLUME, VOLUME, NAMESPACE, MUTATING, VALIDATING),
    )
}
MANAGER: Final = "vmferry-standins"
WATCH_SECONDS: Final = 300
REQUEST_SECONDS: Final = 30.0
JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"


class ApiError(Exception):
    """An error answer. `reason` as in a `Status`: NotFound, AlreadyExists, Conflict …"""

    def __init__(self, what: str, status: int, body: bytes) -> None:
        try:
            document: dict[str, Any] = json.loads(body)
        except ValueError:
            document = {"message": body.decode(errors="replace")[:300]}
        self.status = status
        self.reason = str(document.get("reason", ""))
        self.message = str(document.get("message", ""))
        super().__init__(f"cannot {what}: {status} {self.reason}: {self.message}")

    @classmethod
    def of(cls, what: str, document: Object) -> Self:
        return cls(what, int(document.get("code", 0)), json.dumps(document).encode())


class Api:
    """One cluster, as the user of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        settings = Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]
        self.server = str(settings.host)
        self._headers = _credentials(settings)
        self._pool = urllib3.PoolManager(
            maxsize=32,
            ca_certs=settings.ssl_ca_cert,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
        )

    @property
    def host(self) -> str:
        """The address of the API server."""
        return urlsplit(self.server).hostname or ""

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            return self._ask("GET", kind, namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def list(self, kind: Kind) -> tuple[list[Object], str]:
        """The objects of all namespaces, and the resource version to watch from."""
        found = self._ask("GET", kind)
        named = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [named | item for item in found["items"]], found["metadata"]["resourceVersion"]

    def create(self, thing: Object) -> Object:
        metadata = thing["metadata"]
        return self._ask("POST", kind_of(thing), metadata.get("namespace", ""), body=thing)

    def update(self, thing: Object) -> Object:
        return self._ask("PUT", *place(thing), body=thing)

    def update_status(self, thing: Object) -> Object:
        return self._ask("PUT", *place(thing), subresource="status", body=thing)

    def apply(self, thing: Object) -> Object:
        """Server-side apply, by force."""
        return self._ask("PATCH", *place(thing), body=thing, content=APPLY, query={"force": "true"})

    def patch(self, thing: Object, change: Object) -> Object:
        return self._ask("PATCH", *place(thing), body=change, content=MERGE)

    def delete(self, thing: Object, *, propagation: str = "Background") -> None:
        """Delete exactly this object; success if it is already deleted."""
        uid = thing["metadata"].get("uid")
        options: Object = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._ask("DELETE", *place(thing), body=options)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, kind: Kind, version: str) -> Iterator[tuple[str, Object]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object) until the server ends it."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        url = f"{self.server}{path(kind)}?{urlencode(query)}"
        timeout = urllib3.Timeout(connect=5, read=WATCH_SECONDS + 30)
        answer = self._pool.request(
            "GET", url, headers=self._headers, preload_content=False, timeout=timeout, retries=False
        )
        try:
            if answer.status != 200:
                raise ApiError(f"watch {kind.plural}", answer.status, answer.read())
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError.of(f"watch {kind.plural}", event["object"])
                yield event["type"], event["object"]
        finally:
            answer.close()

    def _ask(
        self,
        method: str,
        kind: Kind,
        namespace: str = "",
        name: str = "",
        *,
        subresource: str = "",
        body: Object | None = None,
        content: str = JSON,
        query: dict[str, str] | None = None,
    ) -> Object:
        where = path(kind, namespace, name, subresource)
        given = {**(query or {}), **({"fieldManager": MANAGER} if method in ("POST", "PUT", "PATCH") else {})}
        answer = self._pool.request(
            method,
            f"{self.server}{where}?{urlencode(given)}",
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, "Content-Type": content},
            timeout=REQUEST_SECONDS,
            retries=False,
        )
        if answer.status >= 300:
            raise ApiError(f"{method} {where}", answer.status, answer.data)
        found: Object = json.loads(answer.data)
        return found


def _credentials(settings: Configuration) -> dict[str, str]:
    """The header with a token; empty if the user has a certificate."""
    token = settings.auth_settings().get("BearerToken")
    return {str(token["key"]): str(token["value"])} if token else {}


def kind_of(thing: Object) -> Kind:
    return KINDS[thing["apiVersion"], thing["kind"]]


def place(thing: Object) -> tuple[Kind, str, str]:
    return kind_of(thing), thing["metadata"].get("namespace", ""), thing["metadata"]["name"]


def path(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    group = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, [f"{group}{inside}/{kind.plural}", name, subresource]))
