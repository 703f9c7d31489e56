"""A stand-in for the kubelet that runs check pods, and for its containers.

It behaves as the kubelet does (k8s.io/kubernetes, pkg/kubelet): a pod waits for its image and for each Secret
and key that its volumes name, then its container runs; the pod ends with the container, or at
`activeDeadlineSeconds`. A termination message has at most 4096 bytes. It has one node and never restarts a
container, as check pods have `restartPolicy: Never`.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from controller.operator.checkpods.objects import LABEL_CHECK
from steps.model.contract import CREDENTIALS, REQUEST
from steps.model.kinds import POD, SECRET, Object
from steps.model.log_text import to_lines
from steps.model.machine import Machine
from steps.model.machine_output import to_output
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

MESSAGE_BYTES: Final = 4096
ENDED: Final = ("Succeeded", "Failed")
Files = Mapping[str, bytes]
"""Mounted files by their paths."""


@dataclass(frozen=True)
class Exited:
    """A container that has ended."""

    code: int
    message: str = ""
    reason: str = ""
    log: str = ""


class Container(Protocol):
    """A container that runs."""

    def poll(self) -> Exited | None: ...

    def kill(self) -> None: ...


Runtime = Callable[[Object, Files], Container]
"""Starts the container of a pod with its mounted files."""


class Node(Protocol):
    """The API server, as the kubelet uses it."""

    def pods(self) -> Iterable[Object]: ...

    def secret(self, name: str) -> Object | None: ...

    def write_status(self, pod: Object, status: Object) -> None: ...

    def keep_log(self, pod: Object, log: str) -> None: ...


@dataclass
class Kubelet:
    """See above. `sync` makes one pass over all pods."""

    node: Node
    runtime: Runtime
    clock: Callable[[], float] = time.monotonic
    images: set[str] | None = None
    """The images that can be pulled; None: all."""
    unschedulable: str = ""
    """Why no pod fits on the node."""
    started: list[Object] = field(default_factory=list)
    """The pods whose container was started."""

    def __post_init__(self) -> None:
        self._containers: dict[str, Container] = {}
        self._since: dict[str, float] = {}

    def sync(self) -> None:
        pods = {pod["metadata"]["uid"]: pod for pod in self.node.pods()}
        for uid in set(self._containers) - set(pods):
            self._containers.pop(uid).kill()
        for uid, pod in pods.items():
            if pod.get("status", {}).get("phase") not in ENDED:
                self._follow(uid, pod)

    def evict(self, pod: Object, message: str = "The node was low on resource: memory.") -> None:
        """End a pod as the kubelet does under pressure."""
        self._end(pod, Exited(137, reason="Error"), reason="Evicted", message=message)

    def close(self) -> None:
        for container in self._containers.values():
            container.kill()
        self._containers.clear()

    def _follow(self, uid: str, pod: Object) -> None:
        since = self._since.setdefault(uid, self.clock())
        if self.unschedulable:
            self._wait(pod, scheduled=self.unschedulable)
        elif self.clock() - since > pod["spec"]["activeDeadlineSeconds"]:
            words = "Pod was active on the node longer than the specified deadline"
            self._end(pod, Exited(137, reason="Error"), reason="DeadlineExceeded", message=words)
        elif uid in self._containers or self._starts(uid, pod):
            exited = self._containers[uid].poll()
            if exited is not None:
                self._end(pod, exited)

    def _starts(self, uid: str, pod: Object) -> bool:
        (container,) = pod["spec"]["containers"]
        if self.images is not None and container["image"] not in self.images:
            self._wait(pod, "ImagePullBackOff", f'Back-off pulling image "{container["image"]}"')
            return False
        files = self._mounted(pod)
        if files is None:
            self._wait(pod, "ContainerCreating", "")
            return False
        self.started.append(pod)
        self._containers[uid] = self.runtime(pod, files)
        self._write(pod, "Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
        return True

    def _mounted(self, pod: Object) -> dict[str, bytes] | None:
        """The files of all volumes; None while a Secret or a key is missing."""
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        files: dict[str, bytes] = {}
        for volume in pod["spec"]["volumes"]:
            if "secret" not in volume:
                continue
            secret = self.node.secret(volume["secret"]["secretName"])
            data = (secret or {}).get("data") or {}
            for item in volume["secret"]["items"]:
                if item["key"] not in data:
                    return None
                files[f"{mounts[volume['name']]}/{item['path']}"] = base64.b64decode(data[item["key"]])
        return files

    def _wait(self, pod: Object, reason: str = "", message: str = "", scheduled: str = "") -> None:
        if scheduled:
            refusal = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": scheduled,
            }
            self.node.write_status(pod, {"phase": "Pending", "conditions": [refusal]})
        else:
            self._write(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def _end(self, pod: Object, exited: Exited, **status: str) -> None:
        container = self._containers.pop(pod["metadata"]["uid"], None)
        state: Object | None = None
        if container is not None:
            container.kill()
            words = exited.message.encode()[-MESSAGE_BYTES:].decode(errors="ignore")
            reason = exited.reason or ("Error" if exited.code else "Completed")
            state = {"terminated": {"exitCode": exited.code, "reason": reason, "message": words}}
            self.node.keep_log(pod, exited.log)
        phase = "Failed" if exited.code or status else "Succeeded"
        self._write(pod, phase, state, **status)

    def _write(self, pod: Object, phase: str, state: Object | None, **status: str) -> None:
        containers = [{"name": pod["spec"]["containers"][0]["name"], "state": state}] if state else []
        self.node.write_status(pod, {"phase": phase, "containerStatuses": containers, **status})


@dataclass
class FakeNode:
    """The objects of a `FakeCluster`, without requests."""

    cluster: FakeCluster
    namespace: str = "vmferry"

    def pods(self) -> Iterable[Object]:
        pods = self.cluster.all(POD, self.namespace)
        return [pod for pod in pods if LABEL_CHECK in (pod["metadata"].get("labels") or {})]

    def secret(self, name: str) -> Object | None:
        return self.cluster.peek(SECRET, name, self.namespace)

    def write_status(self, pod: Object, status: Object) -> None:
        pod["status"] = status

    def keep_log(self, pod: Object, log: str) -> None:
        self.cluster.logs[self.namespace, pod["metadata"]["name"]] = log


@dataclass
class Scripted:
    """A runtime whose containers end at once as `answer` says; None: they run on."""

    answer: Callable[[Object, Files], Exited | None] = lambda _pod, _files: Exited(0)

    def __call__(self, pod: Object, files: Files) -> Container:
        return _Scripted(self, pod, files)


@dataclass
class _Scripted:
    script: Scripted
    pod: Object
    files: Files

    def poll(self) -> Exited | None:
        return self.script.answer(self.pod, self.files)

    def kill(self) -> None:
        """Nothing runs."""


def described(machine: Machine) -> Exited:
    """The end of a dry run that has found the VM."""
    lines = to_lines(to_output(machine))
    return Exited(0, log="\n".join(['{"event": "before"}', *lines, '{"event": "after"}']))


def credential(files: Files, key: str) -> bytes:
    """A mounted credential."""
    return files[f"{CREDENTIALS}/{key}"]


def credentials(files: Files) -> dict[str, bytes]:
    """All mounted credentials by their keys."""
    start = f"{CREDENTIALS}/"
    return {path.removeprefix(start): data for path, data in files.items() if path.startswith(start)}


def request(files: Files) -> bytes:
    """The mounted plan."""
    return files[f"{REQUEST}/plan.json"]


def check_pods(cluster: FakeCluster, namespace: str = "vmferry") -> list[Any]:
    """All check pods and what belongs to them: nothing of them may be left."""
    pods = list(FakeNode(cluster, namespace).pods())
    secrets = cluster.all(SECRET, namespace)
    return [*pods, *(one for one in secrets if LABEL_CHECK in (one["metadata"].get("labels") or {}))]
