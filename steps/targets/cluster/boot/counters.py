"""The counters of a VM's disks and NICs, from the metrics of virt-handler.

No API of KubeVirt shows them: virt-handler asks virt-launcher over a socket of the node, and exports the
answer as metrics (kubevirt v1.8.4 cmd/virt-handler, runPrometheusServer; virt-api has no such subresource).
That endpoint asks for no client certificate (pkg/util/tls, SetupPromTLS: VerifyClientCertIfGiven), so a pod
needs no right to read it, only a way through the network. From outside of the cluster the API server is asked
to pass the request on, with the rights of the person.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from steps.model.contract import Exit, StepError
from steps.model.kinds import POD, Object
from steps.model.vm_counters import LONGEST_LINE, Counters, find_counters
from steps.runtime.cluster import Cluster

SERVICE: Final = "kubevirt-prometheus-metrics"
"""Headless, so its name resolves to the addresses of KubeVirt's pods (virt-operator resource/generate/
components/deployments.go, NewPrometheusService)."""
PORT: Final = 8443
PATH: Final = "/metrics"
MOST_ADDRESSES: Final = 512
MOST_BYTES: Final = 64 << 20
"""Of one answer: a node with hundreds of VMs has some MiB."""
ANSWER_SECONDS: Final = 15.0
"""virt-handler itself waits 10 s for its VMs (metrics/virt-handler/collector, CollectionTimeout)."""
SEARCH_SECONDS: Final = 30.0
"""For the search of the node, which is repeated at the next look. A step must end within its grace period."""
HANDLER: Final = {"kubevirt.io": "virt-handler"}


class CounterReader(Protocol):
    """Reads the counters of a running VM."""

    def counters_of(self, instance: Object) -> Counters:
        """The counters of a VirtualMachineInstance.

        Raises:
            StepError: if they cannot be read.
        """


Fetch = Callable[[str], Iterator[str]]
"""The lines of the metrics at an address. Raises OSError or http.client.HTTPException."""


class PodCounters:
    """In a pod: asks virt-handler itself, at the addresses of its Service."""

    def __init__(
        self,
        namespace: str,
        *,
        resolve: Callable[[str], list[str]] | None = None,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = f"{SERVICE}.{namespace}.svc"
        self._resolve = resolve or _addresses
        self._fetch = fetch or _lines
        self._clock = clock
        self._last = ""

    def counters_of(self, instance: Object) -> Counters:
        metadata = instance["metadata"]
        end, why = self._clock() + SEARCH_SECONDS, "none of them has the VM"
        for address in self._candidates():
            try:
                found = find_counters(self._fetch(address), metadata["namespace"], metadata["name"])
            except (OSError, http.client.HTTPException) as error:
                why = f"{address}: {type(error).__name__}: {error}"
                continue
            if found is not None:
                self._last = address
                return found
            if self._clock() > end:
                why = f"the search took more than {SEARCH_SECONDS:g} s"
                break
        raise StepError(Exit.UNREACHABLE, f"the metrics of {self._host} do not show the VM", why)

    def _candidates(self) -> Iterator[str]:
        """The address that had the VM last, then all others."""
        if self._last:
            yield self._last
        try:
            found = self._resolve(self._host)
        except OSError as error:
            raise StepError(
                Exit.UNREACHABLE,
                f"{self._host} has no address",
                str(error),
                "set the chart's value bootCheck.kubevirtNamespace to the namespace of virt-handler",
            ) from None
        yield from (address for address in found[:MOST_ADDRESSES] if address != self._last)


class ProxiedCounters:
    """Outside of the cluster: its API server passes the request on (right `get` on pods/proxy)."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def counters_of(self, instance: Object) -> Counters:
        metadata = instance["metadata"]
        node = str((instance.get("status") or {}).get("nodeName") or "")
        for pod in self._cluster.find(POD, self._namespace, HANDLER):
            if node and pod["spec"].get("nodeName") == node:
                name = pod["metadata"]["name"]
                content = self._cluster.content(
                    POD, name, self._namespace, f"proxy{PATH}", limit=MOST_BYTES, port=PORT
                )
                lines = content.decode(errors="replace").splitlines()
                found = find_counters(lines, metadata["namespace"], metadata["name"])
                if found is not None:
                    return found
        what = f"no virt-handler in namespace {self._namespace} shows the VM"
        raise StepError(Exit.UNREACHABLE, what, f"its node is {node or 'not known'}")


def _addresses(host: str) -> list[str]:
    found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _lines(address: str) -> Iterator[str]:
    """The metrics, line by line. No secret is sent, and the numbers only decide about this import.

    The certificate is signed by KubeVirt's own CA. To read that needs a right in the namespace of KubeVirt.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, PORT, timeout=ANSWER_SECONDS, context=context)
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"it answers {answer.status}")
        left = MOST_BYTES
        while left > 0 and (line := answer.readline(LONGEST_LINE)):
            left -= len(line)
            yield line.decode(errors="replace")
    finally:
        connection.close()
