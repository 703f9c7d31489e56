"""Other software in the cluster: vm-import-controller, which reconciles the same objects, and its schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.kinds import CRD, DEPLOYMENT, Object
from steps.runtime.cluster import Cluster
from workflows.api import crd

log = structlog.get_logger()

NAMESPACE: Final = "harvester-system"
DEPLOYMENTS: Final = (
    "harvester-vm-import-controller",
    "vm-import-controller-harvester-vm-import-controller",
    "harvester-harvester-vm-import-controller",
)
"""Names of its Deployment. Its chart calls it RELEASE-CHART: installed under the chart's own name, as
Harvester's add-on (harvester pkg/util/constants.go), and with the release `harvester` (the QA plan)."""


def find_other_controller(cluster: Cluster) -> str | None:
    """Why no import may start: vm-import-controller is active. None when it is not.

    Raises:
        StepError: where the API does not answer.
    """
    active = (name for name in DEPLOYMENTS if _is_active(cluster, name, NAMESPACE))
    return next((_message(name, NAMESPACE, "disable vm-import-controller (or") for name in active), None)


FORMER_NAMESPACES: Final = ("kubevirt-hyperconverged", "kubevirt")
FORMER_OPERATOR: Final = "vm-import-controller"
"""The Deployment of vm-import-operator: that of its operator, and where its manifests put it (deploy/)."""


def find_former_operator(cluster: Cluster) -> str | None:
    """Why no import of `v2v.kubevirt.io` may start: vm-import-operator is active. None when it is not.

    Raises:
        StepError: where the API does not answer.
    """
    active = (one for one in FORMER_NAMESPACES if _is_active(cluster, FORMER_OPERATOR, one))
    return next((_message(FORMER_OPERATOR, one, "remove vm-import-operator (or") for one in active), None)


def _is_active(cluster: Cluster, name: str, namespace: str) -> bool:
    deployment = cluster.get(DEPLOYMENT, name, namespace)
    return deployment is not None and (deployment["spec"].get("replicas", 1) or 0) > 0


def _message(name: str, namespace: str, remedy: str) -> str:
    return (
        f"Deployment {namespace}/{name} reconciles the same objects; {remedy}: "
        f"kubectl -n {namespace} scale deployment {name} --replicas=0), then the import continues"
    )


def log_differences(cluster: Cluster) -> None:
    """Log what the cluster's schemas lack: the API server silently drops unknown fields."""
    try:
        for sentence in differences(cluster):
            log.warning(sentence)
    except StepError as error:
        log.warning(f"could not compare the custom resource definitions: {error}")


def differences(cluster: Cluster) -> Iterator[str]:
    """Fields of our CRDs that the cluster's CRDs lack."""
    for definition in crd.manifests():
        name = definition["metadata"]["name"]
        try:
            existing = cluster.get(CRD, name)
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            yield f"CustomResourceDefinition {name} cannot be read: {error}"
            continue
        if existing is None:
            yield f"CustomResourceDefinition {name} does not exist; install the chart with crds.install=true"
            continue
        lost = sorted(set(_paths(_schema(definition))) - set(_paths(_schema(existing))))
        if lost:
            shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            yield f"CustomResourceDefinition {name} is not vmferry's and drops {shown}; set crds.install"


def _schema(definition: Object) -> Any:
    versions = definition["spec"]["versions"]
    served = next((version for version in versions if version["name"] == "v1beta1"), versions[0])
    return served.get("schema", {}).get("openAPIV3Schema", {})


def _paths(schema: Any, at: str = "") -> Iterator[str]:
    """Every field of a schema, as `spec.networkMapping[].sourceNetwork`."""
    for name, part in (schema.get("properties") or {}).items():
        where = f"{at}.{name}" if at else name
        yield where
        yield from _paths(part, where)
    if isinstance(schema.get("items"), dict):
        yield from _paths(schema["items"], f"{at}[]")
