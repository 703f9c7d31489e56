"""Requests of tests to the stand-ins, and functions that wait for the results."""

from __future__ import annotations

import hashlib
from pathlib import Path

from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind, Object
from tests.real.standins.api import Api
from tests.real.standins.controller import condition
from tests.real.standins.crds import LONGHORN_CLASS
from tests.real.standins.images import IMAGE_ID
from tests.real.standins.process import eventually
from tests.real.standins.transitions import class_of


def an_image(namespace: str, name: str, url: str, **spec: object) -> Object:
    wanted = {"backend": "backingimage", "targetStorageClassName": LONGHORN_CLASS}
    return {
        "apiVersion": IMAGE.api_version,
        "kind": IMAGE.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"displayName": name, "sourceType": "download", "url": url, **wanted, **spec},
    }


def a_claim(image: Object, size: int) -> Object:
    """A claim as Harvester's UI and our `build` write it."""
    metadata = image["metadata"]
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "annotations": {IMAGE_ID: f"{metadata['namespace']}/{metadata['name']}"},
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "volumeMode": "Block",
            "storageClassName": class_of(image),
            "resources": {"requests": {"storage": str(size)}},
        },
    }


def when_condition(api: Api, thing: Object, kind: str, value: str = "True", seconds: float = 60.0) -> Object:
    """Wait until the image has the condition; returns the image."""

    def look() -> Object | None:
        found = api.get(IMAGE, thing["metadata"]["namespace"], thing["metadata"]["name"]) or {}
        return found if condition(found.get("status") or {}, kind).get("status") == value else None

    return eventually(look, f"{kind} {value} of {thing['metadata']['name']}", seconds)


def bound(api: Api, claim: Object) -> None:
    def look() -> bool:
        found = api.get(CLAIM, claim["metadata"]["namespace"], claim["metadata"]["name"]) or {}
        return bool((found.get("status") or {}).get("phase") == "Bound")

    eventually(look, f"volume of {claim['metadata']['name']}")


def gone(api: Api, kind: Kind, namespace: str, name: str) -> None:
    eventually(lambda: api.get(kind, namespace, name) is None, f"the end of {kind.kind} {name}")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def a_machine(namespace: str, disks: list[str]) -> Object:
    devices = [
        {"name": name, "bootOrder": index, "disk": {"bus": bus}}
        for index, (name, bus) in enumerate(zip(disks, ("virtio", "sata"), strict=False), 1)
    ]
    domain = {
        "cpu": {"sockets": 1, "cores": 1, "threads": 1},
        "memory": {"guest": "512Mi"},
        "devices": {"disks": devices, "autoattachPodInterface": False},
    }
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in disks]
    return {
        "apiVersion": MACHINE.api_version,
        "kind": MACHINE.kind,
        "metadata": {
            "name": "web01",
            "namespace": namespace,
            "labels": {"migration.harvesterhci.io/imported": "true"},  # it may have a golden claim
        },
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": domain, "volumes": volumes}}},
    }
