"""A user's computer from which imports run into the lab, and what they made there."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import IMAGE, Kind
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.harness import MIB, Json, Running
from tests.real.simulator import Simulator
from tests.real.standins.api import Api
from tests.real.standins.crds import V1_CLASS
from tests.real.standins.lab import Lab
from tests.real.standins.webhook import own_address

TESTED: Final = "vmferry-run"
OPTIONS: Final = ("--backoff", "1", "--grace", "2")
SLOW: Final = ("--rate", str(MIB))


class Desk:
    """A user's environment: a folder, manifests, KUBECONFIG and SVC_ADDRESS."""

    def __init__(
        self,
        folder: Path,
        where: Lab,
        api: Api,
        vcenter: Simulator,
        storage_class: str = V1_CLASS,
        *,
        to: str = "harvester",
    ) -> None:
        self.into = folder / "into"
        self._to = to
        self.api = api
        self._folder = folder
        self._environ = {"KUBECONFIG": str(where.kubeconfig), "SVC_ADDRESS": own_address(api.host)}
        self._manifests = _manifests(vcenter, folder / "shop.yaml", storage_class)

    def run(self, **environ: str) -> harness.Ended:
        return harness.vmferry(*self._argv(), **(self._environ | environ))

    def started(self) -> contextlib.AbstractContextManager[Running]:
        return harness.started(self._folder, *self._argv(), **self._environ)

    def _argv(self) -> list[str | Path]:
        return ["run", "--to", self._to, "-f", self._manifests, "--into", self.into, *harness.QUICK]

    def retry(self) -> harness.Ended:
        """Without an environment: the import stores its cluster."""
        return harness.vmferry("retry", self.into, *harness.QUICK, KUBECONFIG="", SVC_ADDRESS="")

    def made(self, kind: Kind) -> list[Any]:
        things, _ = self.api.list(kind)
        return [one for one in things if one["metadata"]["namespace"] == TESTED]

    def uids(self) -> dict[str, str]:
        return {one["metadata"]["name"]: one["metadata"]["uid"] for one in self.made(IMAGE)}


def _manifests(vcenter: Simulator, path: Path, storage_class: str) -> Path:
    """Manifests that import the VM into the tests' namespace."""
    secret, source, import_ = scenario.manifests(vcenter)
    import_["metadata"] = {"name": "shop", "namespace": TESTED}
    spec: Json = {"virtualMachineName": "shop", "folder": None, "networkMapping": []}
    import_["spec"] = {**import_["spec"], **spec, "storageClass": storage_class}
    return scenario.write(path, [secret, source, import_])


def kubectl(where: Lab, *arguments: str) -> None:
    program = where.kubeconfig.parent / "bin" / "kubectl"
    subprocess.run([program, "--kubeconfig", where.kubeconfig, "-n", TESTED, *arguments], check=True)


def same_bytes(original: Path, found: Path) -> bool:
    """Whether a volume begins with the disk's bytes; it may be larger."""
    size = original.stat().st_size
    with original.open("rb") as first, found.open("rb") as second:
        return first.read() == second.read(size)
