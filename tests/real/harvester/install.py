"""Installs Harvester's and KubeVirt's own webhooks and controllers in the running lab, and removes them.

The programs see the host's files and the lab's network: the API server reaches them at the node's address,
and they reach what pods reach.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ruamel.yaml import YAML

from tests.real.harvester.programs import Programs
from tests.real.standins import crds, webhook
from tests.real.standins.api import Api
from tests.real.standins.crds import FOLDER, HARVESTER_SYSTEM, LONGHORN_SYSTEM
from tests.real.standins.lab import Lab
from tests.real.standins.process import eventually
from tests.tls import self_signed

KUBECTL: Final = FOLDER / "bin" / "kubectl"
ACCOUNT: Final = "harvester"
"""Harvester's webhook takes this account for its controllers': it has more rights than any user."""
HARVESTER_PORT: Final = 9443
KUBEVIRT_PORT: Final = 9444
SERVER_PORT: Final = 18443
APPLY_SECONDS: Final = 180.0
START_SECONDS: Final = 120.0
"""The webhook alone waits 15 s before it registers itself."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Real:
    """The installation in one lab; `node` is the address of the node in the lab's own network."""

    lab: Lab
    programs: Programs
    node: str

    @classmethod
    def of(cls, lab: Lab, programs: Programs) -> Self:
        """In this lab. Raises NotBuiltError."""
        programs.check()
        return cls(lab, programs, Api(lab.kubeconfig).host)

    @property
    def folder(self) -> Path:
        return self.lab.state / "harvester"

    # --- objects

    def install(self, *, default: bool = True) -> None:
        """Kinds, namespaces, settings, classes, KubeVirt's own object, and the controllers' account.

        They replace those of the stand-ins, which are installed first: one of them is a default class.
        """
        api = Api(self.lab.kubeconfig)
        webhook.remove(api)
        crds.install(api, default=default)
        items = json.loads(self.programs.objects.read_text())["items"]
        kinds = [one for one in items if one["kind"] == "CustomResourceDefinition"]
        self.apply(*(namespace(name) for name in NAMESPACES))
        self.apply(*kinds)
        names = [f"crd/{one['metadata']['name']}" for one in kinds]
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        self.apply(*(one for one in items if one["kind"] == "Setting"))
        self.apply(*objects(self.node))
        self.kubectl(
            *("--namespace", HARVESTER_SYSTEM, "patch", "kubevirt", "kubevirt", "--subresource=status"),
            *("--type=merge", "--patch", json.dumps({"status": KUBEVIRT_STATUS})),
        )
        self._write_kubeconfig()

    def _write_kubeconfig(self) -> None:
        """For the account, with its CA in a separate file: Harvester accepts no other form."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = YAML(typ="safe").load(self.lab.kubeconfig)
        cluster = found["clusters"][0]["cluster"]
        authority = self.folder / "ca.crt"
        authority.write_bytes(base64.b64decode(cluster.pop("certificate-authority-data")))
        cluster["certificate-authority"] = str(authority)
        who = ("--namespace", HARVESTER_SYSTEM, "create", "token", ACCOUNT, "--duration=24h")
        found["users"][0]["user"] = {"token": self.kubectl(*who).strip()}
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(found))  # which is YAML, too

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def apply(self, *manifests: Object) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        # Without kubectl's own validation: see Ground.apply in tests/real/argo/ground.py.
        apply = ("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-")
        self.kubectl(*apply, given=json.dumps(document))

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """Returns its output. Raises CommandError."""
        environment = {"KUBECONFIG": str(self.lab.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubectl")}
        done = subprocess.run(
            [KUBECTL, *arguments],
            env={**os.environ, **environment},
            input=given,
            check=False,
            capture_output=True,
            text=True,
            timeout=APPLY_SECONDS,
        )
        if done.returncode != 0:
            raise CommandError(f"kubectl {' '.join(arguments[:4])}: {done.stderr.strip()}")
        return done.stdout

    # --- programs

    @contextlib.contextmanager
    def webhooks(self) -> Iterator[None]:
        """Harvester's and KubeVirt's admission webhooks; waits until both answer, removes both at the end."""
        own = self_signed(self.folder, "kubevirt", f"IP:{self.node}", days=30)
        with contextlib.ExitStack() as stack:
            stack.callback(self._remove)
            where = ("--address", self.node, "--port", str(KUBEVIRT_PORT))
            keys = ("--certificate", str(own.certificate), "--key", str(own.key))
            kubevirt = stack.enter_context(self.program("kubevirt", *where, *keys))
            harvester = stack.enter_context(self.program("webhook", "--port", str(HARVESTER_PORT)))
            self.apply(*kubevirt_configurations(self.node, own.certificate.read_bytes()))
            self._await(harvester, UNNAMED_IMAGE, "displayName is required")
            self._await(kubevirt, ODD_MACHINE, "Invalid RunStrategy (Sometimes)")
            yield

    @contextlib.contextmanager
    def controllers(self) -> Iterator[None]:
        """Harvester's controllers of images, VirtualMachines and claims."""
        with self.program("controllers"):
            yield

    @contextlib.contextmanager
    def server(self) -> Iterator[str]:
        """The whole Harvester with its UI's API; yields the URL of that API, which needs no login."""
        url = f"https://{self.node}:{SERVER_PORT}"
        with self.program("server", "--port", str(SERVER_PORT), "--plain-port", str(SERVER_PORT + 1)):
            yield url

    @contextlib.contextmanager
    def program(self, command: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command of tests/real/harvester/go in the lab's network, with its name server.

        See COMMAND.log.
        """
        resolver = self.folder / "resolv.conf"
        search = "harvester-system.svc.cluster.local svc.cluster.local cluster.local"
        resolver.write_text(f"search {search}\nnameserver {self.node}\noptions ndots:5\n")
        inside = f'mount --bind "{resolver}" /etc/resolv.conf && exec "$@"'
        # A program ends with this process, in any case.
        argv = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "nsenter",
            f"--net={self.lab.root.parent / 'ns' / 'net'}",
            "--",
            "unshare",
            "--mount",
        ]
        argv += ["sh", "-c", inside, "-", str(self.programs.binary), command]
        argv += ["--kubeconfig", str(self.kubeconfig), *options]
        with (self.folder / f"{command}.log").open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.folder)
        try:
            yield process
        finally:
            end(process)

    def _await(self, process: subprocess.Popen[bytes], odd: Object, words: str) -> None:
        """Wait until that webhook refuses what it must refuse, with these words."""

        def refused() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"a webhook ended with {process.returncode}: see {self.folder}/*.log")
            try:
                self.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(odd))
            except CommandError as error:
                return words in str(error)
            return False

        eventually(refused, f"a webhook that answers: {words}", START_SECONDS)

    def _remove(self) -> None:
        webhook.remove(Api(self.lab.kubeconfig))
        # Harvester's webhook registers itself again only if it creates this object.
        secrets = [f"secret/harvester-webhook-{part}" for part in ("ca", "tls")]
        self.kubectl("--namespace", HARVESTER_SYSTEM, "delete", "--ignore-not-found", *secrets)


class CommandError(Exception):
    """A command that failed, with its output."""


def end(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()


NAMESPACES: Final = (
    *(HARVESTER_SYSTEM, LONGHORN_SYSTEM, "harvester-public", "cattle-system", "fleet-local"),
    *("cattle-fleet-local-system", "cattle-monitoring-system", "cattle-logging-system", "cattle-dashboards"),
)
KUBEVIRT_STATUS: Final = {"phase": "Deployed", "defaultArchitecture": "amd64"}
KUBEVIRT: Final = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "KubeVirt",
    "metadata": {"name": "kubevirt", "namespace": HARVESTER_SYSTEM},
    "spec": {
        "configuration": {
            "vmStateStorageClass": "vmstate-persistence",
            "developerConfiguration": {
                "featureGates": [
                    *("CPUManager", "DeclarativeHotplugVolumes", "ExpandDisks"),
                    *("EnableVirtioFsConfigVolumes", "HostDevices"),
                ]
            },
            "vmRolloutStrategy": "LiveUpdate",
            "network": {
                "defaultNetworkInterface": "bridge",
                "permitBridgeInterfaceOnPodNetwork": True,
                "binding": {"managedtap": {"domainAttachmentType": "managedTap"}},
            },
        }
    },
}
"""With the settings of Harvester's chart (deploy/charts/harvester/values.yaml)."""
UNNAMED_IMAGE: Final = {
    "apiVersion": "harvesterhci.io/v1beta1",
    "kind": "VirtualMachineImage",
    "metadata": {"name": "probe", "namespace": "default"},
    "spec": {"displayName": "", "sourceType": "download", "url": "http://probe"},
}
ODD_MACHINE: Final = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "probe", "namespace": "default"},
    "spec": {
        "runStrategy": "Sometimes",
        "template": {
            "spec": {
                "domain": {
                    "cpu": {"cores": 1},
                    "devices": {},
                    "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                }
            }
        },
    },
}


def objects(node: str) -> list[Object]:
    """The objects of Harvester's chart, and the route to its webhook, which does not run in a pod."""
    account = {"name": ACCOUNT, "namespace": HARVESTER_SYSTEM}
    service = {"name": "harvester-webhook", "namespace": HARVESTER_SYSTEM}
    admin = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    slice_ = {**service, "labels": {"kubernetes.io/service-name": service["name"]}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": admin,
            "subjects": [{"kind": "ServiceAccount", **account}],
        },
        _class("vmstate-persistence"),
        *(_snapshot_class(name, kind) for name, kind in (("longhorn", "bak"), ("longhorn-snapshot", "snap"))),
        KUBEVIRT,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": HARVESTER_PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slice_,
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": HARVESTER_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [node], "conditions": {"ready": True}}],
        },
    ]


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def network(where: str, name: str) -> Object:
    """A VLAN of the cluster network that every Harvester has."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": name,
            "namespace": where,
            "labels": {"network.harvesterhci.io/clusternetwork": "mgmt"},
        },
        "spec": {"config": '{"cniVersion": "0.3.1", "type": "bridge", "bridge": "mgmt-br"}'},
    }


def _class(name: str) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "driver.longhorn.io",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "parameters": {"numberOfReplicas": "3", "staleReplicaTimeout": "30"},
    }


def _snapshot_class(name: str, kind: str) -> Object:
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass",
        "metadata": {"name": name},
        "driver": "driver.longhorn.io",
        "deletionPolicy": "Delete",
        "parameters": {"type": kind},
    }


def kubevirt_configurations(node: str, authority: bytes) -> list[Object]:
    """As virt-operator writes them (components/webhooks.go), for VirtualMachines only."""
    parts = (
        ("MutatingWebhookConfiguration", "virt-api-mutator", "virtualmachines-mutator", "mutate"),
        ("ValidatingWebhookConfiguration", "virt-api-validator", "virtualmachine-validator", "validate"),
    )
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": [_asked(f"{asked}.kubevirt.io", _url(node, verb), authority)],
        }
        for kind, name, asked, verb in parts
    ]


def _url(node: str, verb: str) -> str:
    return f"https://{node}:{KUBEVIRT_PORT}/virtualmachines-{verb}"


def _asked(name: str, url: str, authority: bytes) -> Object:
    rule = {
        "apiGroups": ["kubevirt.io"],
        "apiVersions": ["v1alpha3", "v1"],
        "resources": ["virtualmachines"],
        "operations": ["CREATE", "UPDATE"],
    }
    return {
        "name": name,
        "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 10,
    }
