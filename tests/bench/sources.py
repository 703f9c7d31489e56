"""oVirt and KubeVirt, each with a VM that is off: what its export step needs, and the places of its disk."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steps.model.plan import DiskFormat, ImportRef, Plan, SourcePlan, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from steps.providers import Access, connect
from steps.runtime.stop import Stop
from tests.bench.measure import Failed
from tests.bench.web import Web
from tests.real.ovirt.lab import Lab
from tests.real.ovirt.layout import is_prepared
from tests.tls import self_signed
from tests.unit.steps.providers.kubevirt.cluster import Cluster
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, NAME, claim
from tests.unit.steps.providers.kubevirt.standin import StandIn, kubeconfig

VM: Final = "bench"
RUN: Final = "vmi-bench-0000-g1"


@dataclass(frozen=True)
class Planned:
    """The folders of a run whose `preflight` is over: `request` and `credentials`."""

    folder: Path

    @property
    def request(self) -> Path:
        return self.folder / "request"

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"


@dataclass(frozen=True)
class OVirt:
    """An engine with the VM `bench`; its raw `disk` has data in a few places."""

    lab: Lab
    planned: Planned
    disk: Path

    @property
    def sent(self) -> int:
        """Bytes of all answers of ovirt-imageio since the calls were forgotten, without their headers."""
        return sum(int(call["bytes"]) for call in self.lab.calls("image"))


@dataclass(frozen=True)
class KubeVirt:
    """A cluster whose exporter serves the raw `disk`; at `url`, with `.gz` for the same as gzip."""

    cluster: Cluster
    planned: Planned
    disk: Path
    url: str


@dataclass(frozen=True)
class Sources:
    ovirt: OVirt
    kubevirt: KubeVirt


@contextlib.contextmanager
def sources(folder: Path, web: Web, placed: Path, volume: Path) -> Iterator[Sources]:
    """Both sources. `volume` is `FOLDER/volumes/CLAIM/disk.img` in the root of nginx.

    Raises:
        Failed: ovirt-imageio is missing.
    """
    with _ovirt(folder / "ovirt", placed) as ovirt, _kubevirt(folder / "kubevirt", web, volume) as kubevirt:
        yield Sources(ovirt, kubevirt)


@contextlib.contextmanager
def _ovirt(folder: Path, disk: Path) -> Iterator[OVirt]:
    if not is_prepared():
        raise Failed("ovirt-imageio is missing: tests/prepare.sh packages python ovirt builds it")
    vm = {"name": VM, "status": "down", "disks": [{"file": str(disk), "alias": VM, "bootable": True}]}
    with Lab.start({"vms": [vm]}, folder / "engine") as lab:
        keys = {"username": lab.username, "password": lab.password, "caCert": lab.ca.read_text()}
        ports = {"image_daemon_port": lab.daemon, "image_proxy_port": lab.daemon}
        source = SourcePlan(kind=SourceKind.OVIRT, name="engine", endpoint=lab.url, **ports)
        yield OVirt(lab, _planned(folder, source, keys, VM), disk)


@contextlib.contextmanager
def _kubevirt(folder: Path, web: Web, volume: Path) -> Iterator[KubeVirt]:
    """The exporter's files are at nginx; the stand-in of the API server only names them.

    As the real exporter, nginx answers ranges of `disk.img`. It sends gzip that is ready, with its length.
    """
    folder.mkdir()
    own = self_signed(folder)
    with StandIn(own.server(), own.pem) as standin:
        cluster = standin.cluster
        cluster.internal, cluster.certificate = f"{web.tls}/{volume.parents[2].name}", web.ca.read_text()
        cluster.put("persistentvolumeclaims", claim(CLAIMS[0], size=volume.stat().st_size))
        cluster.halt()
        source = SourcePlan(kind=SourceKind.KUBEVIRT, name="cluster", endpoint=standin.url)
        planned = _planned(folder, source, {"kubeconfig": kubeconfig(standin.url, own.pem)}, NAME)
        yield KubeVirt(cluster, planned, volume, f"{cluster.internal}/volumes/{CLAIMS[0]}/disk.img")


def _planned(folder: Path, source: SourcePlan, keys: Mapping[str, str], vm: str) -> Planned:
    """Write what a step of an import of the VM into a folder gets."""
    made = Planned(folder)
    made.request.mkdir()
    made.credentials.mkdir()
    for key, value in keys.items():
        (made.credentials / key).write_text(value)
    access = Access(
        plan=source,
        credentials=made.credentials,
        stop=Stop(),
        run=RUN,
        step="preflight",
        state_folder=folder / "state",
    )
    # What the provider logs is no part of the report.
    with contextlib.redirect_stdout(sys.stderr), connect(access) as provider:
        provider.describe(vm, None).save(made.request / "machine.json")
    Plan(
        run=RUN,
        import_=ImportRef(name=vm, uid="6f1d"),
        source=source,
        vm=vm,
        target=TargetPlan(kind=TargetKind.DIRECTORY, format=DiskFormat.QCOW2),
    ).save(made.request / "plan.json")
    return made
