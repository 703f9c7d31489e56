"""The test guest as a VM of the same KubeVirt, exported by its real controllers and the real exporter.

The account of the source is a service account with the Role of docs/how-to/sources.md. Within the lab the
export is a Service. From the host its way is virt-exportproxy, on a port of the node in place of an Ingress.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from steps.model.kinds import API_VERSION, Kind, Object
from steps.model.machine import Controller, Firmware, Nic, NicModel
from steps.model.plan import NetworkRule
from steps.providers.kubevirt.exports import LABEL
from steps.runtime.certificates import presented_thumbprint
from tests.real import scenario
from tests.real.cluster.lab import ROOT, Lab
from tests.real.guest import datadisk
from tests.real.standins.process import eventually
from tests.real.virt import guests, multus

ACCOUNT: Final = "importer"
INSTANCE: Final = Kind("kubevirt.io/v1", "VirtualMachineInstance", "virtualmachineinstances")
KUBEVIRT: Final = ("--namespace", "kubevirt")
PROXY: Final = "virt-exportproxy"
PROXY_PORT: Final = 30443
"""The port of the node for virt-exportproxy."""
GATE: Final = "VMExport"
CHANGE_SECONDS: Final = 600.0
CONTROLLERS: Final = {"virtio": Controller.VIRTIO, "sata": Controller.SATA}


def gates(lab: Lab) -> list[str]:
    """The feature gates that are on."""
    where = "jsonpath={.spec.configuration.developerConfiguration.featureGates}"
    found: list[str] = json.loads(lab.kubectl(*KUBEVIRT, "get", "kubevirt", "kubevirt", "-o", where) or "[]")
    return found


def set_gates(lab: Lab, wanted: list[str]) -> None:
    configuration = {"developerConfiguration": {"featureGates": wanted or None}}
    patch = json.dumps({"spec": {"configuration": configuration}})
    lab.kubectl(*KUBEVIRT, "patch", "kubevirt", "kubevirt", "--type=merge", "-p", patch)


def await_exports(lab: Lab) -> None:
    """Wait until KubeVirt serves exports; the gate is on."""
    available = ("get", "deployment", PROXY, "--ignore-not-found", "-o", "jsonpath={.status.readyReplicas}")
    eventually(lambda: lab.kubectl(*KUBEVIRT, *available) == "1", PROXY, CHANGE_SECONDS)
    ports = [{"port": 443, "targetPort": 8443, "nodePort": PROXY_PORT}]
    lab.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "exports-for-the-host", "namespace": "kubevirt"},
            "spec": {"type": "NodePort", "selector": {"kubevirt.io": PROXY}, "ports": ports},
        }
    )
    eventually(lambda: presented_thumbprint(lab.node, PROXY_PORT), "the port of the node", CHANGE_SECONDS)


def turn_on(lab: Lab) -> None:
    """Turn on exports, and wait until KubeVirt serves them."""
    if GATE not in gates(lab):
        set_gates(lab, [*gates(lab), GATE])
    await_exports(lab)


def documented_role() -> Object:
    """The Role of the how-to page."""
    page = (ROOT / "docs" / "how-to" / "sources.md").read_text(encoding="utf-8")
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        if "kind: Role\n" in block:
            role: Object = YAML(typ="safe").load(block)
            return role
    raise AssertionError("docs/how-to/sources.md has no Role")


def documents(lab: Lab, at: str, namespace: str, **spec: Any) -> list[Object]:
    """The Secret and the source in `namespace`, for the VMs of the namespace `at`."""
    role = documented_role()
    role["metadata"]["namespace"] = at
    owner = {"name": ACCOUNT, "namespace": at}
    lab.apply(
        role,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": owner},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": owner,
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": role["metadata"]["name"],
            },
            "subjects": [{"kind": "ServiceAccount", **owner}],
        },
    )
    token = lab.kubectl("--namespace", at, "create", "token", ACCOUNT, "--duration=24h").strip()
    kubeconfig = _kubeconfig(lab, at, token)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "old-cluster", "namespace": namespace},
        "stringData": {"kubeconfig": json.dumps(kubeconfig)},
    }
    source = {
        "apiVersion": API_VERSION,
        "kind": "KubeVirtSource",
        "metadata": {"name": "old-cluster", "namespace": namespace},
        "spec": {
            "endpoint": kubeconfig["clusters"][0]["cluster"]["server"],
            "namespace": at,
            "credentials": {"name": "old-cluster"},
            **spec,
        },
    }
    return [secret, source]


def _kubeconfig(lab: Lab, at: str, token: str) -> Any:
    """The lab's own cluster, with the token of the account."""
    own = YAML(typ="safe").load(lab.place.kubeconfig.read_text(encoding="utf-8"))
    cluster = own["clusters"][0]["cluster"]
    if "certificate-authority-data" not in cluster:
        text = (lab.place.kubeconfig.parent / cluster.pop("certificate-authority")).read_bytes()
        cluster["certificate-authority-data"] = base64.b64encode(text).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u", "namespace": at}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
    }


def address(lab: Lab) -> dict[str, str]:
    """Fields of the source for an import from the host."""
    return {
        "exportAddress": f"https://{lab.node}:{PROXY_PORT}",
        "exportThumbprint": presented_thumbprint(lab.node, PROXY_PORT),
    }


@contextmanager
def running_guest(
    lab: Lab, bus: str, firmware: str, folder: Path, *, lan: bool = False
) -> Iterator[tuple[guests.Guest, datadisk.DataDisk]]:
    """The guest, running in a namespace of its own; all is deleted at the end.

    With `lan` it has a second NIC, in a network of Multus.
    """
    data = datadisk.make(folder / "data.img", stay=True)
    tag = f"old-{secrets.token_hex(3)}"
    at = lab.make_namespace(tag)
    kind = Firmware(kind="efi", secure_boot=True, tpm=True) if firmware == "uefi" else Firmware()
    found = guests.machine(scenario.VM, CONTROLLERS[bus], kind, data)
    networks: tuple[NetworkRule, ...] = ()
    if lan:
        second = Nic(id="nic-1", mac=scenario.MACS[1], model=NicModel.E1000E, network=multus.LAN)
        found = found.model_copy(update={"nics": (*found.nics, second)})
        networks = (NetworkRule(source=multus.LAN, destination=multus.make_lan(lab, at)),)
    with (
        guests.backing(lab, f"{tag}-0", scenario.guest_image()) as first,
        guests.backing(lab, f"{tag}-1", data.path) as last,
    ):
        for disk, name in zip(found.disks, (first, last), strict=True):
            lab.apply(guests.claim(disk.id, at, name, disk.capacity))
        guest = guests.start(lab, at, found, {disk.id: disk.id for disk in found.disks}, networks)
        try:
            where = ("get", "vmi", guest.name, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
            eventually(lambda: guest.kubectl(*where) == "Running", "the VM at the source", CHANGE_SECONDS)
            yield guest, data
        finally:
            lab.kubectl("--namespace", at, "delete", "vm", "--all", "--timeout=300s", seconds=330)
            lab.kubectl("delete", "namespace", at, "--timeout=300s", seconds=330)


def left(guest: guests.Guest) -> list[str]:
    """What an import left at the source: nothing, and the VM is off."""
    kept = guest.kubectl("get", "vmexport", "-o", "name").split()
    kept += guest.kubectl("get", "secret,pod", "-l", LABEL, "-o", "name").split()
    kept += guest.kubectl("get", "vmi", "-o", "name").split()
    strategy = guest.stored()["spec"]["runStrategy"]
    return kept if strategy in ("Halted", "RerunOnFailure") else [*kept, f"the run strategy is {strategy}"]
