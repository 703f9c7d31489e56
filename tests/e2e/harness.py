"""What the end-to-end tests share: a vCenter with small machines, and `vmferry` as a person would call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import scenario
from tests.simulator import Simulator

MIB: Final = 1 << 20
Json = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A `vmferry` that has ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one-line message."""
        return next((line for line in self.err.splitlines() if line.startswith("error: ")), "")


def argv(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "controller.cli", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GOVC_", "VM_NAME"))}
    return clean | more


def vmferry(*arguments: str | Path, stdin: str | None = None, **env: str) -> Ended:
    """Run `vmferry` to its end, as from a script."""
    done = subprocess.run(
        argv(*arguments),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        env=environment(**env),
        timeout=240,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def random_disk(path: Path, size: int, *, data: int | None = None) -> Path:
    """A sparse raw disk of `size` bytes whose first and last parts are random, `data` bytes in all."""
    data = size if data is None else data
    with path.open("wb") as file:
        file.truncate(size)
        file.write(os.urandom(data // 2))
        file.seek(size - (data - data // 2))
        file.write(os.urandom(data - data // 2))
    return path


def machine(name: str, *disks: Path | Json, **more: Any) -> Json:
    """A machine for the simulator's inventory, off unless said otherwise."""
    described = [disk if isinstance(disk, dict) else {"file": str(disk)} for disk in disks]
    return {"name": name, "disks": described, "nics": [{"network": "VM Network"}], **more}


@contextmanager
def vcenter(folder: Path, *machines: Json, **top: Any) -> Iterator[Simulator]:
    """A simulated vCenter with these machines in its one datacenter."""
    inventory = {"datacenters": [{"name": "DC0", "vms": list(machines)}], **top}
    with Simulator.start(inventory, folder / "vcenter") as simulator:
        yield simulator


def manifests(simulator: Simulator, path: Path, vm: str, **spec: Any) -> Path:
    """The manifests that import `vm`."""
    secret, source, import_ = scenario.manifests(simulator)
    import_["metadata"]["name"] = spec.pop("name", "test")
    spec.setdefault("networkMapping", [])
    import_["spec"] = {**import_["spec"], "virtualMachineName": vm, "folder": None, **spec}
    return scenario.write(path, [secret, source, import_])


def same(original: Path, imported: Path) -> bool:
    """Whether an imported disk has the original's content, byte for byte."""
    done = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", imported.suffix[1:], original, imported],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def state(folder: Path) -> Json:
    """What run.json says."""
    found: Json = json.loads((folder / "run.json").read_text())
    return found


def finished(folder: Path, stage: str) -> list[str]:
    """When each attempt of a stage that ended well had begun: unchanged means not run again."""
    return sorted(
        f"{node['name']} {node['startedAt']}"
        for node in state(folder)["status"]["nodes"].values()
        if node["templateName"] == stage and node["type"] == "Pod" and node["phase"] == "Succeeded"
    )


def left(simulator: Simulator) -> Sequence[Json]:
    """Leases and sessions that somebody forgot."""
    return [*simulator.leases(), *simulator.sessions()]
