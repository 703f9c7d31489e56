"""The retry matrix: every stage fails once and is retried in every way; each cell is an import of its own.

The cells come from the stage table. They run in parallel (`python -m tests.real.argo`). The table of all
cells is printed at the end and saved in .cache/e2e/matrix.md.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.kinds import CLAIM, SECRET, SERVICE, Object
from steps.model.plan import DiskWay, TargetKind
from steps.targets.harvester.image_state import image_state
from tests.real.argo.faults import FAULTS, Broken, Moment, Scene
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.place import Seen
from tests.real.argo.table import Row, note
from tests.real.argo.test_retry import person, put
from tests.real.argo.world import (
    FAILED,
    INVALID,
    RUNNING,
    Imported,
    World,
    a_vm,
    bytes_of,
    claims_of,
    images_of,
)
from workflows.stages import Scope, Stage, stage_named, stages_for
from workflows.status.nodes import Phase, phase_of

pytestmark = [pytest.mark.argo, pytest.mark.matrix]
Make = Callable[..., World]
OTHER: Final = "another"
"""A VM of one disk without any fault."""
LONG: Final = 300.0
"""Seconds without any change that count as a hang; a back-off of a minute on a busy host does not."""


class Way(enum.StrEnum):
    """A way of retrying."""

    CLI = "argo-retry"
    SERVER = "argo-server"
    ANNOTATION = "annotation"
    SPEC = "edited-spec"

    @property
    def in_place(self) -> bool:
        """Whether the same Workflow continues."""
        return self in (Way.CLI, Way.SERVER)


@dataclass(frozen=True)
class Cell:
    """A stage that fails, and the way of its retry; of `disks` disks the last one fails.

    With `lands` the disks land on plain volumes; otherwise they become images.
    """

    stage: Stage
    way: Way
    disks: int
    lands: bool = False

    def __str__(self) -> str:
        return f"{self.stage.name}-{self.way}-{self.disks}{'-lands' if self.lands else ''}"

    @property
    def twice(self) -> bool:
        """Whether the first retry comes while the cause is still present."""
        return self.way in (Way.CLI, Way.ANNOTATION) and self.disks == 1

    @property
    def vm_disks(self) -> int:
        """If the edited spec asks for another VM, that VM fits into a quota and this one does not."""
        return 2 if self.another_vm else self.disks

    @property
    def ends(self) -> str:
        """The import's status after the stage has failed."""
        return INVALID if self.stage.check else FAILED

    @property
    def another_vm(self) -> bool:
        """Whether the edited spec asks for another VM: only then does a check start a new run."""
        return self.way is Way.SPEC and self.stage.check


STAGES: Final = stages_for(TargetKind.HARVESTER)
CELLS: Final = [
    Cell(stage, way, disks)
    for stage in STAGES
    if not stage.gate and stage.scope is not Scope.EXIT
    for way in Way
    for disks in ((1, 2) if stage.scope is Scope.DISK else (1,))
] + [
    Cell(stage, way, 1, lands=True)
    for stage in stages_for(TargetKind.HARVESTER, DiskWay.MIXED)
    if stage.name in ("export", "convert", "hand-over", "build", "start")
    for way in (Way if stage.name == "hand-over" else (Way.CLI, Way.ANNOTATION))
]
CELLS.sort(key=lambda cell: cell.stage.name != "serve")
"""The cells of `serve` take longest, as `image` waits for it: they start first."""
assert {cell.stage.name for cell in CELLS} == set(FAULTS), "a stage has no fault"
SEEN_BY: Final = {"poweroff": "preflight", "image": "admit", "hand-over": "admit"}
"""The check that refuses a stage's fault in a new Workflow: stopped guest tools, and a full quota."""


@dataclass
class Trial:
    """A cell under test."""

    cell: Cell
    scene: Scene
    moment: Moment
    row: Row = field(init=False)

    def __post_init__(self) -> None:
        self.row = Row(str(self.cell))

    @property
    def imported(self) -> Imported:
        return self.scene.imported

    @property
    def vm(self) -> str:
        """The VM that is imported at the end."""
        return OTHER if self.cell.another_vm else self.scene.vm

    def begin(self) -> None:
        """Apply the import; if the fault comes after the checks, the import waits before power-off."""
        gate = {"approvals": ["poweroff"]} if self.moment is Moment.CHECKED else {}
        rows = [{"sourceDisk": f"disk-{number}", "as": "volume"} for number in range(self.scene.disks)]
        places = {"diskMapping": rows} if self.cell.lands else {}
        self.scene.world.begin(self.scene.vm, **gate, **places)
        if gate:
            self.imported.when(lambda seen: seen.summary.reason == "WaitingForApproval", LONG)

    def approve(self) -> dict[str, str]:
        """The annotation that approves the gate; a new Workflow asks again."""
        return {"approve": "poweroff"} if self.moment is Moment.CHECKED else {}

    def until_failed(
        self, before: tuple[str, str] = ("", ""), *, stage: str = "", ends: str = ""
    ) -> tuple[str, str]:
        """Wait until an attempt after `before` has failed, with its exit handler; returns that attempt.

        It fails at the cell's stage, unless another stage and status are given.
        """
        ends = ends or self.cell.ends

        def look(seen: Seen) -> tuple[str, str] | None:
            workflow = seen.workflow or {}
            over = phase_of(workflow) in (Phase.FAILED, Phase.ERROR) and attempt(workflow) != before
            reported = seen.status.import_status == ends and seen.summary.status == "False"
            return attempt(workflow) if over and reported else None

        failed = self.imported.when(look, LONG)
        assert (stage or self.cell.stage.name) in self.imported.status.step, self.imported.describe()
        return failed

    def retry(self) -> None:
        """Ask for a retry in the cell's way."""
        ground, way = self.scene.ground, self.cell.way
        name = (self.imported.workflow or {})["metadata"]["name"]
        if way is Way.CLI:
            ground.argo("retry", name)
        elif way is Way.SERVER:
            person(ground)
            put(ground, f"/api/v1/workflows/{RELEASE}/{name}/retry")
        elif way is Way.ANNOTATION:
            self.imported.annotate(retry="true", **self.approve())
        else:
            self.imported.annotate(**self.approve())
            self.imported.change(**self.edit())

    def edit(self) -> dict[str, Any]:
        """The edit of the spec that causes a retry."""
        if self.cell.another_vm:
            return {"virtualMachineName": OTHER}
        if self.cell.stage.name == "build":
            return {"targetVirtualMachineName": f"{self.scene.vm}-2"}
        return {"memory": "256Mi"}

    @property
    def target_name(self) -> str:
        """The name of the VM at the target at the end."""
        return (
            f"{self.scene.vm}-2" if self.cell.way is Way.SPEC and self.cell.stage.name == "build" else self.vm
        )

    def heals_by_edit(self) -> bool:
        """Whether the edited spec alone removes the cause."""
        return self.cell.way is Way.SPEC and (self.cell.another_vm or self.cell.stage.name == "build")

    def fails_again(self, before: tuple[str, str]) -> tuple[str, str]:
        """Retry while the cause is still present; returns the attempt that failed last.

        A taken name is found before an attempt starts. A check of the new Workflow refuses the other causes
        (`SEEN_BY`).
        """
        self.retry()
        if self.cell.stage.name == "build" and not self.cell.way.in_place:
            self.imported.when(lambda seen: "a retry waits" in seen.status.message, LONG)
            return before
        check = "" if self.cell.way.in_place else SEEN_BY.get(self.cell.stage.name, "")
        return self.until_failed(before, stage=check, ends=INVALID if check else "")

    def until_done(self, before: tuple[str, str] = ("", "")) -> None:
        """Wait until the VM runs and the Workflow has succeeded. `before` is the attempt that failed.

        Raises:
            AssertionError: if a later attempt fails, too. The import shows `before` for a while longer.
        """

        def look(seen: Seen) -> bool:
            workflow = seen.workflow or {}
            phase, status = phase_of(workflow), seen.status
            if phase is Phase.SUCCEEDED and status.import_status == RUNNING:
                return True
            failed = phase in (Phase.FAILED, Phase.ERROR) and attempt(workflow) != before
            assert not (failed and status.import_status == self.cell.ends), str(seen)
            return False

        self.imported.when(look, LONG)


def attempt(workflow: dict[str, Any]) -> tuple[str, str]:
    """Identifies an attempt of a run: by the Workflow, or for a retry in place by its start."""
    status = workflow.get("status") or {}
    return str((workflow.get("metadata") or {}).get("name", "")), str(status.get("startedAt", ""))


def done_before(imported: Imported) -> dict[str, str]:
    """Start times of the finished steps, by node; the exit handler always runs again."""
    nodes = ((imported.workflow or {}).get("status") or {}).get("nodes") or {}
    pods = [node for node in nodes.values() if node["type"] == "Pod" and ".onExit" not in node["name"]]
    return {node["name"]: node["startedAt"] for node in pods if node["phase"] == "Succeeded"}


def read_disks(world: World, vm: str) -> Counter[str]:
    """How often each disk of a VM was read at the source."""
    return Counter(
        str(call["disk"]).removesuffix(".vmdk")
        for call in world.simulator.calls()
        if call["kind"] == "disk" and vm in str(call["vm"])
    )


@contextmanager
def trial(cell: Cell, ground: Ground, make: Make, folder: Path) -> Iterator[tuple[Trial, Broken]]:
    """The cell's import, which fails."""
    vm = f"m-{cell.stage.name}{'-lands' if cell.lands else ''}"
    world = make([a_vm(folder, vm, disks=cell.vm_disks), a_vm(folder, OTHER)])
    moment, fault = FAULTS[cell.stage.name]
    made = Trial(cell, Scene(ground, world, vm, cell.vm_disks), moment)
    with note(made.row):
        if moment is Moment.BEFORE:
            with fault(made.scene) as broken:
                made.begin()
                yield made, broken
        else:
            made.begin()
            with fault(made.scene) as broken:
                world.imported(vm).annotate(**made.approve())
                broken.meanwhile()
                yield made, broken


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_failed_stage_is_retried(cell: Cell, ground: Ground, make: Make, tmp_path: Path) -> None:
    with trial(cell, ground, make, tmp_path) as (made, broken):
        failed = made.until_failed()
        made.row.mark("failed")
        run, before, images = made.imported.run, done_before(made.imported), uids(made)
        if cell.twice:
            failed = made.fails_again(failed)
            made.row.mark("failed again")
        if not made.heals_by_edit():
            broken.heal()
        made.retry()
        made.until_done(failed)
        made.row.mark("done")
        assert_done_once(made, before, images)
        assert_nothing_held(made)
        if cell.lands:
            assert_landed(made)
        assert (made.imported.run == run) is not cell.another_vm
        made.row.passed = True


def assert_done_once(made: Trial, before: dict[str, str], images: set[str]) -> None:
    """No finished step ran again, and the VM was shut down once."""
    simulator = made.scene.world.simulator
    vm = simulator.vm(made.vm)
    assert (vm["shutdowns"], vm["powerOffs"], vm["power"]) == (1, 0, "off")
    assert made.vm == made.scene.vm or simulator.vm(made.scene.vm)["shutdowns"] == 0
    if made.cell.way.in_place:
        after = done_before(made.imported)
        assert {name: after.get(name) for name in before} == before
    read = read_disks(made.scene.world, made.vm)
    expected = ["disk-0"] if made.cell.another_vm else [f"disk-{n}" for n in range(made.cell.vm_disks)]
    assert sorted(read) == expected
    exported = [disk for disk in read if any(f":{disk}).export(" in name for name in before)]
    assert {disk: read[disk] for disk in exported} == dict.fromkeys(exported, 1)
    assert images <= uids(made)


def assert_landed(made: Trial) -> None:
    """The VM has plain volumes with the content of its disks, and there is no image."""
    world = made.scene.world
    machine = made.imported.machine(made.target_name)
    assert machine is not None
    claims = claims_of(machine)
    assert images_of(world) == []
    for claim, disk in zip(
        claims, a_vm(world.disks, made.vm, disks=made.cell.vm_disks)["disks"], strict=True
    ):
        source = Path(disk["file"])
        found = bytes_of(made.scene.ground, world.namespace, claim, source.stat().st_size)
        assert found == hashlib.sha256(source.read_bytes()).hexdigest()


def assert_nothing_held(made: Trial) -> None:
    """No lock is held, and the release namespace has only objects that show the import's state."""
    assert holders(made.imported.workflow or {}) == []
    mine = {names.LABEL_NAMESPACE: made.scene.world.namespace}

    def left() -> list[str]:
        found = [
            one for kind in (CLAIM, SECRET, SERVICE) for one in made.scene.ground.all(kind, RELEASE, **mine)
        ]
        return [f"{one['kind']} {one['metadata']['name']}" for one in found]

    eventually(lambda: not left(), lambda: f"left: {left()}", 90)
    assert made.scene.world.simulator.leases() == []


def holders(workflow: Object) -> list[str]:
    """Nodes that hold a lock."""
    locks = ((workflow.get("status") or {}).get("synchronization") or {}).values()
    return [who for lock in locks for one in lock.get("holding") or [] for who in one.get("holders") or []]


def uids(made: Trial) -> set[str]:
    """The images that are filled."""
    found = [one for one in images_of(made.scene.world) if image_state(one).imported]
    return {one["metadata"]["uid"] for one in found}


def test_a_killed_release_of_the_source_runs_again(ground: Ground, make: Make, tmp_path: Path) -> None:
    """The exit handler: Argo runs it again by itself, and the import keeps its status."""
    made = make([a_vm(tmp_path, "m-release")])
    row = Row("release-source-by-itself")
    with note(row):
        imported = made.begin("m-release")
        imported.until(RUNNING)
        (pod, *_) = eventually(lambda: imported.pods("release-source"), imported.describe)
        name = pod["metadata"]["name"]
        ground.kubectl("delete", "pod", "-n", RELEASE, name, "--grace-period=0", "--force", "--wait=false")
        row.mark("failed")
        trial = Trial(
            Cell(stage_named("release-source"), Way.CLI, 1),
            Scene(ground, made, "m-release", 1),
            Moment.BEFORE,
        )
        trial.until_done()
        row.mark("done")
        assert imported.status.import_status == RUNNING
        assert made.simulator.vm("m-release")["shutdowns"] == 1
        assert_nothing_held(trial)
        row.passed = True
