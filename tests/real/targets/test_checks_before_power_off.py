"""Each check of the target refuses while the VM runs: the source has no task and the VM is on.

The source is the simulated vCenter, the cluster is in memory. The three callers: `vmferry plan --to`, the
steps of `vmferry run --to`, and the steps of the Workflow that the controller creates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from controller.cli import dryrun
from controller.manifests.resolve import Job
from steps import admit, preflight
from steps.model.contract import TERMINATION_LOG_ENV, Exit
from steps.model.kinds import CSI_CAPACITY, LONGHORN_NODE, NAD, NODE, STORAGE_CLASS, Kind
from steps.model.plan import NetworkRule, PowerPlan, SourcePlan
from steps.model.sources import SourceKind
from steps.runtime import kubeapi
from steps.runtime.stop import Stop
from tests.real.simulator import Simulator, simulator_states, write_credentials
from tests.unit.steps.targets.harvester.test_programs import Pod, a_workflow
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World as HarvesterWorld
from tests.unit.steps.targets.kubevirt.world import World as KubeVirtWorld
from tests.unit.steps.targets.surroundings import a_capacity, a_longhorn_node, a_node, another_vm

__all__ = ["simulator_states"]
pytestmark = pytest.mark.vcenter

VM: Final = "web01"
MAC: Final = "00:50:56:8a:00:01"
INVENTORY: Final = {
    "datacenters": [
        {
            "name": "DC0",
            "vms": [
                {
                    "name": VM,
                    "power": "on",
                    "tools": "running",
                    "disks": [{"capacity": 1 << 30}],
                    "nics": [{"network": "VM Network", "mac": MAC}],
                }
            ],
        }
    ]
}
VLAN: Final = NetworkRule(source="VM Network", destination="default/vlan1")
World = HarvesterWorld | KubeVirtWorld
Break = Callable[[World], None]


@pytest.fixture(scope="module")
def simulator(simulator_states: Callable[[str], Path]) -> Iterator[Simulator]:
    with Simulator.start(INVENTORY, simulator_states("checks")) as running:
        yield running


@pytest.fixture(params=[HarvesterWorld, KubeVirtWorld], ids=["harvester", "kubevirt"])
def world(request: pytest.FixtureRequest, simulator: Simulator) -> World:
    made: World = request.param(networks=(VLAN,))
    source = SourcePlan(kind=SourceKind.VMWARE, name="vc", endpoint=simulator.url, datacenter="DC0")
    made.plan = made.plan.model_copy(update={"source": source, "vm": VM, "power": PowerPlan(force=True)})
    made.cluster.put(a_request(made.plan))
    return made


@dataclass
class Answer:
    """What a caller reports: an exit code, and its words."""

    code: int
    text: str


class Callers:
    """The three callers of the checks."""

    def __init__(self, folder: Path, world: World, simulator: Simulator) -> None:
        self._folder = folder
        self._world = world
        self._simulator = simulator

    def plan(self) -> Answer:
        files = write_credentials(self._folder / "given", self._simulator)
        credentials = {path.name: path.read_bytes() for path in files.iterdir()}
        result = dryrun.dry_run(Job(self._world.plan, credentials), Stop())
        return Answer(result.code, " | ".join(text for _, text in result.reasons))

    def run(self) -> Answer:
        return self._steps()

    def controller(self) -> Answer:
        return self._steps("--workflow", self._world.plan.run)

    def _steps(self, *argv: str) -> Answer:
        """`preflight` and `admit` as programs."""
        pod: Any = Pod(self._folder, self._world)  # type: ignore[arg-type]
        write_credentials(self._folder / "source", self._simulator)
        code = pod.run(preflight.body, preflight.arguments())
        if code is not Exit.DONE:
            return Answer(code, pod.words)
        a_workflow(self._world, self._world.plan.run, pod.output("machine"))  # type: ignore[arg-type]
        (self._folder / "request" / "machine.json").write_text(pod.output("machine.json"))
        return Answer(pod.run(admit.body, admit.arguments(), *argv), pod.words)


@pytest.fixture(params=["plan", "run", "controller"])
def ask(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    world: World,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Answer]:
    monkeypatch.setenv("KUBECONFIG", "a-file")
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(tmp_path / "words"))
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, "vmferry")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    caller: Callable[[], Answer] = getattr(Callers(tmp_path, world, simulator), request.param)
    return caller


def drop_all(world: World, kind: Kind) -> None:
    for one in world.cluster.all(kind):
        world.cluster.drop(kind, one["metadata"]["name"], one["metadata"].get("namespace", ""))


def the_name_is_taken(world: World) -> None:
    world.cluster.put(another_vm("default", VM, "02:00:00:00:00:01"))


def the_mac_is_taken(world: World) -> None:
    world.cluster.put(another_vm("finance", "payroll", MAC, "default/vlan1"))


def the_network_is_missing(world: World) -> None:
    world.cluster.drop(NAD, "vlan1", "default")


def the_class_is_missing(world: World) -> None:
    drop_all(world, STORAGE_CLASS)


def the_storage_is_full(world: World) -> None:
    drop_all(world, CSI_CAPACITY)
    drop_all(world, LONGHORN_NODE)
    world.cluster.put(a_longhorn_node(available=0))
    world.cluster.put(a_capacity("ceph", "1Mi"))


def no_node_is_large_enough(world: World) -> None:
    drop_all(world, NODE)
    world.cluster.put(a_node(memory="1Mi"))


FAULTS: Final[dict[str, tuple[Break, Exit, str]]] = {
    "name": (the_name_is_taken, Exit.CONFLICT, "web01 already exists"),
    "MAC address": (the_mac_is_taken, Exit.CONFLICT, f"the MAC address {MAC}"),
    "network": (the_network_is_missing, Exit.NOT_FOUND, "default/vlan1 does not exist"),
    "storage class": (the_class_is_missing, Exit.NOT_FOUND, "no default storage class"),
    "capacity": (the_storage_is_full, Exit.NO_SPACE, "has no room"),
    "node": (no_node_is_large_enough, Exit.NO_SPACE, "no node can run the VM"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_reported_while_the_vm_runs(
    fault: str, ask: Callable[[], Answer], world: World, simulator: Simulator
) -> None:
    break_it, code, words = FAULTS[fault]
    break_it(world)
    answer = ask()
    assert (answer.code, words in answer.text) == (code, True), answer.text
    assert "payroll" not in answer.text
    assert simulator.tasks() == []
    assert simulator.vm(VM)["power"] == "on"


def test_all_faults_are_reported_together(
    ask: Callable[[], Answer], world: World, simulator: Simulator
) -> None:
    for name in ("name", "MAC address", "capacity"):
        FAULTS[name][0](world)
    answer = ask()
    expected = [FAULTS[name][2] for name in ("name", "MAC address", "capacity")]
    assert [words for words in expected if words not in answer.text] == []
    assert simulator.tasks() == []


def test_without_a_fault_the_import_is_accepted(
    ask: Callable[[], Answer], world: World, simulator: Simulator
) -> None:
    answer = ask()
    assert answer.code == Exit.DONE, answer.text
    assert simulator.tasks() == []
