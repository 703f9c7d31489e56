"""A pod that uses all claims of a VM and ends: so they are provided on one node, which has room for the VM.

A class with `WaitForFirstConsumer` provides a claim when the first pod that uses it is scheduled. With
storage of a node, two pods could bind the disks of one VM on two nodes, and the VM could never run. So the
pod also has the node selector and the node affinity of the VM. KubeVirt uses such a pod, too (kubevirt
pkg/virt-controller/watch/vmi, doppleganger pod).

If the import asks for a stage with all disks, the pod also proves that one node can mount all of them,
whatever their class is. Scratch is not for the VM: then the pod has the room that such a stage needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import POD, Object
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.model.vm_fields import scheduling
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.cluster.ownership import is_of_run
from steps.targets.cluster.serving import POLL

log = structlog.get_logger()

STAGE: Final = "placement"
ADMIT: Final = "admit"
OWNER: Final = 107
"""The user of KubeVirt's and CDI's pods."""
_OF_INSPECT: Final = {"memory": "1Gi", "cpu": "500m"}
"""What `inspect` requests by default (`workflows.author.installation`)."""
_COPIED: Final = ("imagePullSecrets", "nodeSelector", "tolerations", "affinity")
"""Fields of the pod of `admit` that this pod needs as well to run."""


class Placement:
    """The placement pod of a run."""

    def __init__(self, plan: Plan, cluster: Cluster, release: str) -> None:
        self._plan = plan
        self._cluster = cluster
        self._release = release
        self._name = names.placement(plan.run)

    def ensure(self, claims: Mapping[str, str], shape: Shape | None, owner: Object) -> None:
        """Create the pod over `claims`, volume modes by name, unless it exists.

        `shape` is the VM, which shall run on the same node; None, if all claims are scratch.

        Raises:
            StepError: CONFLICT, for a foreign pod; UNREACHABLE, if the pod of this step is not found.
        """
        try:
            self._cluster.create(self._manifest(claims, shape, owner))
        except ExistsError:
            existing = self._cluster.get(POD, self._name, self._release)
            if existing is not None and not is_of_run(existing, self._plan):
                raise
            return
        log.info("the disks are placed on one node", pod=self._name)

    def problem(self) -> str:
        """Why the pod has no node, in the scheduler's words; empty if it has one."""
        pod = self._cluster.get(POD, self._name, self._release) or {}
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                why = condition.get("message") or "no reason is given"
                return f"no node can take the VM and its disks: {why}"
        return ""

    def await_node(self, stop: Stop, clock: Callable[[], float], seconds: float) -> None:
        """Return when the pod has a node: one that can mount all of its claims.

        Raises:
            StepError: UNREACHABLE, with the scheduler's words, if it has none in time; Stopped, as `stop`.
        """
        end = clock() + seconds
        while not self._has_node():
            if clock() > end:
                raise StepError(
                    Exit.UNREACHABLE,
                    "the disks cannot be mounted together",
                    self.problem() or f"pod {self._release}/{self._name} has no node",
                    "let the volumes be on one node, or write spec.guest.inspect: false; the VM was not shut "
                    "down",
                )
            stop.sleep(POLL)

    def _has_node(self) -> bool:
        pod = self._cluster.get(POD, self._name, self._release) or {}
        return bool((pod.get("spec") or {}).get("nodeName"))

    def remove(self) -> None:
        """Delete the pod: a claim that a pod uses, even a finished one, cannot be deleted."""
        pod = self._cluster.get(POD, self._name, self._release)
        if pod is not None and is_of_run(pod, self._plan):
            self._cluster.delete(POD, self._name, self._release, uid=pod["metadata"]["uid"])

    def _manifest(self, claims: Mapping[str, str], shape: Shape | None, owner: Object) -> Object:
        own = self._own_pod()["spec"]
        (main,) = [one for one in own["containers"] if one["name"] == "main"]
        modes = {f"volume-{number}": mode for number, mode in enumerate(claims.values())}
        return {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {
                "name": self._name,
                "namespace": self._release,
                "labels": {
                    **names.run_labels(self._plan),
                    names.LABEL_STAGE: STAGE,
                    names.LABEL_SCRATCH: "true",
                },
                "annotations": {"sidecar.istio.io/inject": "false"},
                "ownerReferences": [owner],
            },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                **_scheduled(own, shape),
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": OWNER,
                    "runAsGroup": OWNER,
                    "fsGroup": OWNER,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [_container(main, shape, modes)],
                "volumes": [
                    {"name": volume, "persistentVolumeClaim": {"claimName": name}}
                    for volume, name in zip(modes, claims, strict=True)
                ],
            },
        }

    def _own_pod(self) -> Object:
        """The pod of this step: it shows the image, and what else a pod needs to run in this cluster."""
        labels = {names.LABEL_RUN: self._plan.run, names.LABEL_STAGE: ADMIT}
        pods = self._cluster.find(POD, self._release, labels)
        if not pods:
            raise StepError(Exit.UNREACHABLE, f"the pod of {ADMIT} of run {self._plan.run} is not found")
        return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))


def _scheduled(own: Object, shape: Shape | None) -> Object:
    """Where the pod may run: where the pod of `admit` may run, and the VM, if there is one.

    A taint that only the VM tolerates is tolerated only if the VM names its nodes. Otherwise there are nodes
    on which the steps can run as well. Rules about other pods do not count here: these pods are not in the
    namespace of the VM.
    """
    found = {field: own[field] for field in _COPIED if own.get(field)}
    wanted = scheduling(shape) if shape is not None else {}
    selector = wanted.get("nodeSelector") or {}
    node_affinity = (wanted.get("affinity") or {}).get("nodeAffinity")
    if selector:
        found["nodeSelector"] = {**found.get("nodeSelector", {}), **selector}
    if node_affinity:
        found["affinity"] = {"nodeAffinity": node_affinity}
    if selector or node_affinity:
        tolerations = [*found.get("tolerations", []), *wanted.get("tolerations", [])]
        found["tolerations"] = [one for at, one in enumerate(tolerations) if one not in tolerations[:at]]
    return found


def _container(main: Object, shape: Shape | None, modes: Mapping[str, str]) -> Object:
    """A program that does nothing; `modes`: name of a volume → Block or Filesystem."""
    return {
        "name": STAGE,
        "image": main["image"],
        "imagePullPolicy": main.get("imagePullPolicy") or "IfNotPresent",
        "command": ["python", "-c", ""],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "resources": {"requests": _requests(shape)},
        "volumeMounts": [
            {"name": volume, "mountPath": f"/volumes/{volume}"}
            for volume, mode in modes.items()
            if mode != "Block"
        ],
        "volumeDevices": [
            {"name": volume, "devicePath": f"/dev/{volume}"}
            for volume, mode in modes.items()
            if mode == "Block"
        ],
    }


def _requests(shape: Shape | None) -> dict[str, str]:
    """What KubeVirt requests by default: the memory, a tenth of the CPUs. A VM that stays off needs none."""
    if shape is None:
        return dict(_OF_INSPECT)
    if not shape.start:
        return {"memory": "64Mi", "cpu": "10m"}
    cpus = shape.topology.sockets * shape.topology.cores * shape.topology.threads
    return {"memory": f"{shape.memory_mib}Mi", "cpu": f"{100 * cpus}m"}
