"""What is seen of a guest from outside. Nothing of it is needed: what cannot be read is left out."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Final

import structlog

from steps.model import console_text
from steps.model.booting import MOST_ADDRESSES, BootEvidence, Look
from steps.model.contract import StepError
from steps.model.kinds import INSTANCE_PARTS, POD, Object
from steps.model.plan import BootCheckPlan
from steps.model.vm_counters import Counters
from steps.runtime.cluster import Cluster
from steps.targets.cluster.boot.counters import CounterReader

log = structlog.get_logger()

CREATED_BY: Final = "kubevirt.io/created-by"
"""Label of a launcher pod: the uid of its VirtualMachineInstance (kubevirt.io/api core/v1)."""
CONSOLE: Final = "guest-console-log"
"""The container that copies the serial console (virt-controller services/serialconsolelog.go)."""
CONSOLE_BYTES: Final = 4 << 20
"""Of the last lines. The log of a container has at most 16 KiB in a line."""
SCREENSHOT: Final = "vnc/screenshot"
LARGEST_PICTURE: Final = 384 << 10
"""Bytes. Two of them fit into a ConfigMap."""
PNG: Final = b"\x89PNG\r\n\x1a\n"
CONNECT_SECONDS: Final = 5.0
LONGEST_REASON: Final = 300
"""Characters of why a kind of evidence is missing."""

Connects = Callable[[str, int], bool]


class Witness:
    """Looks at the VirtualMachineInstances of one VM."""

    def __init__(
        self,
        cluster: Cluster,
        wanted: BootCheckPlan,
        counters: CounterReader,
        connects: Connects | None = None,
    ) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._counters = counters
        self._connects = connects or accepts_connection
        self._missing: dict[str, str] = {}
        self.console = ""
        """The end of the serial console, cleaned."""

    def look(self, instance: Object, at: float) -> Look:
        """What is seen now, `at` seconds after the instance was first seen running."""
        pod = self._launcher(instance)
        text = self._console(pod)
        return Look(
            at=at,
            agent=_has_agent(instance),
            counters=self._read_counters(instance),
            console=None if text is None else console_text.state_of(text),
            port_open=self._port(pod),
        )

    def evidence(self, instance: Object | None, look: Look | None) -> BootEvidence:
        """The last look as a document."""
        counters = look.counters if look else None
        return BootEvidence(
            agent=bool(look and look.agent),
            read_bytes=counters.read if counters else None,
            written_bytes=counters.written if counters else None,
            frames_sent=counters.sent if counters else None,
            port_open=look.port_open if look else None,
            addresses=addresses_of(instance) if instance else (),
            console=console_text.quote(self.console),
            missing=tuple(f"{what}: {why}" for what, why in self._missing.items()),
        )

    def screenshot(self, instance: Object) -> bytes:
        """The screen as PNG; empty if there is none."""
        metadata = instance["metadata"]
        try:
            picture = self._cluster.content(
                *(INSTANCE_PARTS, metadata["name"], metadata["namespace"], SCREENSHOT),
                limit=LARGEST_PICTURE + 1,
            )
        except StepError as error:
            self._note("screenshot", str(error))
            return b""
        if not picture.startswith(PNG):
            self._note("screenshot", "KubeVirt did not answer with a picture")
            return b""
        if len(picture) > LARGEST_PICTURE:
            self._note("screenshot", f"it has more than {LARGEST_PICTURE >> 10} KiB")
            return b""
        self._missing.pop("screenshot", None)
        return picture

    # --- inside

    def _launcher(self, instance: Object) -> Object | None:
        """The pod that runs the instance: the newest one that runs, as there are two during a migration."""
        metadata = instance["metadata"]
        try:
            pods = self._cluster.find(POD, metadata["namespace"], {CREATED_BY: metadata["uid"]})
        except StepError as error:
            self._note("console", str(error))
            return None
        running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        return max(running, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)

    def _console(self, pod: Object | None) -> str | None:
        if pod is None:
            return None
        metadata = pod["metadata"]
        try:
            raw = self._cluster.log(
                *(metadata["name"], metadata["namespace"], CONSOLE),
                lines=console_text.MOST_LINES,
                limit=CONSOLE_BYTES,
            )
        except StepError as error:
            self._note("console", str(error))
            return None
        self._missing.pop("console", None)
        self.console = console_text.cleaned(raw)
        return self.console

    def _read_counters(self, instance: Object) -> Counters | None:
        try:
            found = self._counters.counters_of(instance)
        except StepError as error:
            self._note("counters", str(error))
            return None
        self._missing.pop("counters", None)
        return found

    def _port(self, pod: Object | None) -> bool | None:
        port = self._wanted.tcp_port
        if port is None:
            return None
        address = self._wanted.address or str(((pod or {}).get("status") or {}).get("podIP") or "")
        return bool(address) and self._connects(address, port)

    def _note(self, what: str, why: str) -> None:
        why = why[:LONGEST_REASON]
        if self._missing.get(what) != why:
            log.info(f"no {what}: {why}")
        self._missing[what] = why


def accepts_connection(address: str, port: int) -> bool:
    """Whether a TCP connection is accepted. Nothing is sent."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _has_agent(instance: Object) -> bool:
    conditions = (instance.get("status") or {}).get("conditions") or []
    return any(
        condition.get("type") == "AgentConnected" and condition.get("status") == "True"
        for condition in conditions
    )


def addresses_of(instance: Object) -> tuple[str, ...]:
    """The IP addresses of the guest. The agent in the guest may say anything, so each one is read."""
    interfaces = (instance.get("status") or {}).get("interfaces") or []
    given = [str(address) for one in interfaces for address in one.get("ipAddresses") or []]
    return tuple(dict.fromkeys(filter(_is_address, given[: 4 * MOST_ADDRESSES])))[:MOST_ADDRESSES]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return len(text) <= 64 and text.isprintable()
