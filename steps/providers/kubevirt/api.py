"""The API server of the source: read, list, and the few changes that an import makes.

It uses vmferry's own HTTP client: bounded answers, the proxy of the environment, and no redirects. The image
of a step that reads a source contains no client of Kubernetes.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import structlog

from steps.disk.http_client import HttpClient
from steps.model.kubeconfig import Kubeconfig
from steps.providers import Access, json_call
from steps.providers.kubevirt import credentials, faults
from steps.providers.kubevirt.answers import Answer
from steps.runtime import retry
from steps.runtime.stop import Stop

log = structlog.get_logger()

ANSWER_SECONDS: Final = 60.0
"""Seconds within which the whole answer to one call must arrive: the API server's own time-out."""
PAGE: Final = 50
"""Objects of a page of a list. An object has at most 1.5 MB."""
MOST_PAGES: Final = 2000
_ACCEPT: Final = "application/json, */*"
"""KubeVirt's `stop` and `start` name no type of their answer, and refuse a request for JSON alone (406)."""
MERGE_PATCH: Final = "application/merge-patch+json"
_USER_AGENT: Final = f"vmferry/{importlib.metadata.version('vmferry')}"

VMS: Final = ("kubevirt.io/v1", "virtualmachines")
INSTANCES: Final = ("kubevirt.io/v1", "virtualmachineinstances")
KUBEVIRTS: Final = ("kubevirt.io/v1", "kubevirts")
SUBRESOURCES: Final = ("subresources.kubevirt.io/v1", "virtualmachines")
EXPORTS: Final = ("export.kubevirt.io/v1beta1", "virtualmachineexports")
CLAIMS: Final = ("v1", "persistentvolumeclaims")
SECRETS: Final = ("v1", "secrets")
NETWORKS: Final = ("k8s.cni.cncf.io/v1", "network-attachment-definitions")
REVIEWS: Final = ("authorization.k8s.io/v1", "selfsubjectaccessreviews")

Resource = tuple[str, str]
"""API version and plural."""


def path_of(resource: Resource, namespace: str = "", name: str = "", *below: str) -> str:
    """The path of a resource; every part is escaped, so that no name changes the path."""
    version, plural = resource
    parts = ["apis" if "/" in version else "api", *version.split("/")]
    parts += ["namespaces", namespace] if namespace else []
    parts += [plural, *filter(None, (name,)), *below]
    return "/" + "/".join(quote(part, safe="") for part in parts)


@dataclass(kw_only=True)
class Api:
    """The API server, with the account of the kubeconfig."""

    server: str
    namespace: str
    """Where the VMs are."""
    tls: ssl.SSLContext
    insecure: bool
    stop: Stop
    token: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.server).netloc

    def unstoppable(self) -> Api:
        """The same API for calls that must be made although the step was asked to stop."""
        return replace(self, stop=Stop())

    def read(self, what: str, path: str, **query: str) -> Answer:
        """The answer to GET, repeated if the connection breaks.

        Raises:
            StepError: its text begins with `cannot` and `what`.
        """
        target = path + (f"?{urlencode(query)}" if query else "")
        for attempt in retry.attempts(self.stop, faults.is_transient):
            with attempt:
                return self._call(f"cannot {what}", "GET", target)
        raise AssertionError  # attempts() either succeeds or raises

    def find(self, what: str, path: str) -> Answer | None:
        """As `read`; None if the object does not exist."""
        try:
            return self.read(what, path)
        except faults.RefusedError as error:
            if error.status == http.client.NOT_FOUND:
                return None
            raise

    def pages(self, what: str, path: str) -> Iterator[Answer]:
        """All objects of a list, page by page."""
        more = ""
        for _ in range(MOST_PAGES):
            query = {"limit": str(PAGE), **({"continue": more} if more else {})}
            page = self.read(what, path, **query)
            yield from page.elements("items")
            more = page.text("metadata", "continue")
            if not more:
                return
            self.stop.check()
        raise Answer.unusable(f"the list {path} does not end")

    def create(self, what: str, path: str, document: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        """The answer to POST, which is sent once: after a lost answer only a read shows its effect."""
        target = path + ("?dryRun=All" if dry_run else "")
        return self._call(f"cannot {what}", "POST", target, document)

    def patch(self, what: str, path: str, document: Mapping[str, Any]) -> Answer:
        """A JSON merge patch, which is sent once."""
        return self._call(f"cannot {what}", "PATCH", path, document, MERGE_PATCH)

    def put(self, what: str, path: str, document: Mapping[str, Any]) -> Answer:
        """The answer to PUT, which is sent once."""
        return self._call(f"cannot {what}", "PUT", path, document)

    def delete(self, what: str, path: str, uid: str = "") -> bool:
        """Delete an object, with `uid` only that one; whether there was one."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._call(f"cannot {what}", "DELETE", path, options)
        except faults.RefusedError as error:
            if error.status in (http.client.NOT_FOUND, http.client.CONFLICT):  # it is gone, or another one
                return False
            raise
        return True

    def _call(
        self,
        what: str,
        method: str,
        target: str,
        document: Mapping[str, Any] | None = None,
        kind: str = "application/json",
    ) -> Answer:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        body = None
        if document is not None:
            body, headers["Content-Type"] = json.dumps(document).encode(), kind
        self.stop.check()
        client = HttpClient(self.server + target, self.tls)
        try:
            reply = json_call.exchange(
                client, method, headers, body, kind=Answer, seconds=ANSWER_SECONDS, stop=self.stop
            )
        except faults.NETWORK as error:
            raise faults.from_connection(what, error, self.host) from error
        answer = json_call.parse(Answer, what, reply.status, reply.body)
        if not 200 <= reply.status < 300:
            raise faults.from_status(what, reply.status, answer, reply.headers)
        return answer


def open_api(access: Access) -> Api:
    """The API of the source of an access; connects to nothing.

    Raises:
        StepError: INVALID (kubeconfig).
    """
    plan = access.plan
    kubeconfig: Kubeconfig = credentials.read(access.credentials, plan)
    insecure = plan.insecure_skip_tls_verify
    described = access.machine.path.partition("/")[0] if access.machine is not None else ""
    return Api(
        server=kubeconfig.server,
        namespace=described or plan.vm_namespace or kubeconfig.namespace or "default",
        tls=credentials.tls_context(kubeconfig, insecure=insecure),
        insecure=insecure,
        stop=access.stop,
        token=kubeconfig.token,
    )
