"""Storage classes of the lab with the real CDI."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tests.real.cluster.lab import Lab
from tests.real.standins.process import eventually


@contextmanager
def csi_class(lab: Lab) -> Iterator[str]:
    """A class of Block volumes as Longhorn's: CDI knows its modes, and fills its claims by a populator.

    For the latter there must be a CSIDriver of the same name.
    """
    name = f"csi-{secrets.token_hex(3)}"
    lab.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIDriver",
            "metadata": {"name": "driver.longhorn.io"},
            "spec": {"attachRequired": False},
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "driver.longhorn.io",
        },
    )
    await_profile(lab, name)
    yield name
    lab.kubectl("delete", "storageclass", name)
    lab.kubectl("delete", "csidriver", "driver.longhorn.io")


def await_profile(lab: Lab, storage_class: str) -> None:
    """Wait until CDI has written the class's StorageProfile."""
    where = ("get", "storageprofile", storage_class, "--ignore-not-found", "-o")
    eventually(lambda: lab.kubectl(*where, "jsonpath={.status.storageClass}"), "the StorageProfile", 120)
