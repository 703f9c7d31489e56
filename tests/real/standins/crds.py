"""Objects that the stand-ins need in a cluster: definitions of the kinds, namespaces, classes. Server-side
apply.

    python -m tests.real.standins.crds [--kubeconfig FILE]

VirtualMachineImage has the fields of Harvester's own definition (v1.6.0, deploy/charts/harvester-crd), also
without the status subresource. The other kinds accept any field: their own definitions are hundreds of
kilobytes, and what we write for KubeVirt is decoded strictly elsewhere (tests/real/kubevirt).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import BACKING_IMAGE, CRD, DATA_VOLUME, IMAGE, MACHINE, NAD, Kind, Object
from tests.real.standins.api import INSTANCE, Api
from tests.real.standins.lab import Lab, NoLabError

FOLDER: Final = Path(__file__).resolve().parents[3] / ".cache" / "lab"
LONGHORN_SYSTEM: Final = "longhorn-system"
HARVESTER_SYSTEM: Final = "harvester-system"
LONGHORN_CLASS: Final = "harvester-longhorn"
V1_CLASS: Final = "longhorn-v1"
FACTORY_PARAMETERS: Final = {"numberOfReplicas": "3", "staleReplicaTimeout": "30", "migratable": "true"}
ESTABLISHED: Final = 30.0
"""Seconds that an API server may take to serve a kind."""

TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "integer"}
SIZE: Final = {"type": "integer", "format": "int64"}
SOURCES: Final = ["download", "upload", "export-from-volume", "restore", "clone"]


def image_schema() -> Object:
    texts = (
        "checksum",
        "description",
        "displayName",
        "pvcName",
        "pvcNamespace",
        "targetStorageClassName",
        "url",
    )
    security = _object(
        {"cryptoOperation": {**TEXT, "enum": ["encrypt", "decrypt"]}}, required=["cryptoOperation"]
    )
    security["properties"] |= {"sourceImageName": TEXT, "sourceImageNamespace": TEXT}
    spec = {
        **dict.fromkeys(texts, TEXT),
        "backend": {**TEXT, "enum": ["backingimage", "cdi"], "default": "backingimage"},
        "retry": {**NUMBER, "minimum": 0, "maximum": 10, "default": 3},
        "securityParameters": security,
        "sourceType": {**TEXT, "enum": SOURCES},
        "storageClassParameters": {"type": "object", "additionalProperties": TEXT},
    }
    parts = ("type", "status", "reason", "message", "lastUpdateTime", "lastTransitionTime")
    one = _object(dict.fromkeys(parts, TEXT), required=["type", "status"])
    fields = ("appliedUrl", "lastFailedTime", "storageClassName", "targetStorageClassName")
    status = {
        **dict.fromkeys(fields, TEXT),
        "backupTarget": _object(dict.fromkeys(("bucketName", "bucketRegion", "endpoint"), TEXT)),
        "conditions": {"type": "array", "items": one},
        "failed": {**NUMBER, "minimum": 0, "default": 0},
        "progress": NUMBER,
        "size": SIZE,
        "virtualSize": SIZE,
    }
    parts_of = {"spec": _object(spec, required=["displayName", "sourceType"]), "status": _object(status)}
    return _object({"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}, **parts_of}, ["spec"])


def _object(properties: dict[str, Any], required: list[str] | None = None) -> Object:
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(
    kind: Kind,
    schema: Object,
    short: list[str],
    *,
    status: bool = True,
    columns: dict[str, str] | None = None,
) -> Object:
    """A CustomResourceDefinition; `columns` are heading and JSON path of the columns of `kubectl get`."""
    group, version = kind.api_version.split("/")
    shown = [{"name": name, "type": "string", "jsonPath": path} for name, path in (columns or {}).items()]
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}} if status else {},
        **({"additionalPrinterColumns": shown} if shown else {}),
    }
    names = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower() if kind is not NAD else "network-attachment-definition",
        "shortNames": short,
    }
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": kind.resource},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }


def definitions() -> list[Object]:
    progress = {"Backend": ".spec.backend", "Progress": ".status.progress", "Failed": ".status.failed"}
    state = {"Status": ".status.printableStatus", "Ready": ".status.ready"}
    phase = {"Phase": ".status.phase", "Progress": ".status.progress"}
    return [
        definition(IMAGE, image_schema(), ["vmimage", "vmimages"], status=False, columns=progress),
        definition(BACKING_IMAGE, ANYTHING, ["lhbi"]),
        definition(DATA_VOLUME, ANYTHING, ["dv", "dvs"], columns=phase),
        definition(MACHINE, ANYTHING, ["vm", "vms"], columns=state),
        definition(INSTANCE, ANYTHING, ["vmi", "vmis"], status=False, columns={"Phase": ".status.phase"}),
        definition(NAD, ANYTHING, ["net-attach-def"], status=False),
    ]


def others(*, default: bool) -> list[Object]:
    """The namespaces, and two classes of Longhorn.

    The first one is the default class of a fresh Harvester (its chart, harvester-storageclass.yaml). It has
    no dataEngine. Here it is the default only on request, as the lab already has one. The other is a class as
    users make it in Harvester's UI: it has a dataEngine.
    """
    named = ({"name": name} for name in (LONGHORN_SYSTEM, HARVESTER_SYSTEM))
    mark = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    factory = {"harvesterhci.io/is-reserved-storageclass": "true", **mark}
    return [
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata} for metadata in named),
        _longhorn(LONGHORN_CLASS, FACTORY_PARAMETERS, factory),
        _longhorn(V1_CLASS, {**FACTORY_PARAMETERS, "dataEngine": "v1"}, {}),
    ]


def _longhorn(name: str, parameters: dict[str, str], annotations: dict[str, str]) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": "driver.longhorn.io",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "parameters": parameters,
    }


def install(api: Api, *, default: bool = False) -> None:
    """Apply everything; returns when the API server serves every kind."""
    for thing in [*others(default=default), *definitions()]:
        api.apply(thing)
    end = time.monotonic() + ESTABLISHED
    for thing in definitions():
        while not _established(api, thing["metadata"]["name"]):
            if time.monotonic() > end:
                raise TimeoutError(f"{thing['metadata']['name']} is not served within {ESTABLISHED:.0f} s")
            time.sleep(0.1)


def _established(api: Api, name: str) -> bool:
    found = api.get(CRD, "", name) or {}
    fields = {one["type"]: one["status"] for one in found.get("status", {}).get("conditions") or []}
    return fields.get("Established") == "True"


def options(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("KUBECONFIG") or FOLDER / "kubeconfig")
    parser.add_argument(
        "--kubeconfig", type=Path, default=default, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument(
        "--default-class",
        action="store_true",
        help=f"make {LONGHORN_CLASS} the default class, as Harvester does",
    )
    return parser


if __name__ == "__main__":
    given = options(__doc__ or "").parse_args()
    try:
        install(Api(Lab.of(given.kubeconfig).kubeconfig), default=given.default_class)
    except NoLabError as missing:
        sys.exit(f"error: {missing}")
