"""The folders of the lab, its name server, and the volumes as the host sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from steps.model.kinds import CLAIM, Object
from tests.real.standins.api import VOLUME, Api


class NoLabError(Exception):
    """This kubeconfig is not that of a lab: the stand-ins must not be installed in any other cluster."""


@dataclass(frozen=True)
class Lab:
    """`root`: the file system of the lab's first node as the host sees it."""

    kubeconfig: Path
    state: Path
    backing: Path
    root: Path

    @classmethod
    def of(cls, kubeconfig: Path, state: Path | None = None, backing: Path | None = None) -> Self:
        """The running lab of a kubeconfig, `.cache/lab/kubeconfig[-NAME]`; see tests/real/lab/settings.sh.

        Raises:
            NoLabError: no lab is running, or the file is for another cluster.
        """
        folder, suffix = kubeconfig.resolve().parent, kubeconfig.name.removeprefix("kubeconfig")
        root = _root(_state(kubeconfig))
        if not (kubeconfig.exists() and (root / "run/lab").exists()):
            raise NoLabError(f"no lab runs with {kubeconfig}: start it with tests/real/lab/up")
        return cls(kubeconfig, state or folder / f"standins{suffix}", backing or folder / "backing", root)

    def path(self, volume: Object) -> Path:
        """A volume of the lab's provisioner: a loop device, or the folder where it is mounted."""
        path = str(volume["spec"]["local"]["path"])
        if volume["spec"]["volumeMode"] == "Block":
            return Path(path)
        return self._root_of(node_of(volume)) / path.lstrip("/")

    def disk(self, api: Api, namespace: str, name: str) -> Path:
        """The file with the bytes of a bound claim: the device, or `disk.img` of KubeVirt and CDI."""
        claim = api.get(CLAIM, namespace, name) or {}
        volume = api.get(VOLUME, "", claim.get("spec", {}).get("volumeName") or "-")
        if volume is None:
            raise LookupError(f"claim {namespace}/{name} has no volume")
        path = self.path(volume)
        return path if volume["spec"]["volumeMode"] == "Block" else path / "disk.img"

    def _root_of(self, node: str) -> Path:
        """The file system of a node: `tests/real/lab/node up` adds one whose name ends with -2."""
        return _root(_state(self.kubeconfig) / "second") if node.endswith("-2") else self.root


def node_of(volume: Object) -> str:
    """The one node that can use a volume of the lab's provisioner."""
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    ((name,),) = (one["values"] for one in term["matchExpressions"])
    return str(name)


def _state(kubeconfig: Path) -> Path:
    """The folder of the first node, in which that of the second one is."""
    resolved = kubeconfig.resolve()
    return resolved.parent / f"state{resolved.name.removeprefix('kubeconfig')}"


def _root(state: Path) -> Path:
    noted = state / "lab.pid"
    return Path("/proc") / (noted.read_text(encoding="utf-8").split()[0] if noted.exists() else "-") / "root"
