"""A cluster in memory with a MigrationPlan, a source whose VMs a check pod selects, and its reconciles.

The check pod runs the real selection over the VMs that a test gives it. The imports of the plan are not
reconciled, unless a test does it: it writes their statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from controller.operator.checkpods.check import SELECT
from controller.operator.checkpods.runner import CheckPods
from controller.operator.reconcile import reconcile
from controller.operator.routing import ImportKey
from steps.model.contract import StepError
from steps.model.kinds import EVENT, IMPORT, MIGRATION_PLAN, Object
from steps.model.log_text import to_lines
from steps.model.machine import Machine
from steps.model.selecting import Listing, pack, select
from tests.unit.builders import a_machine
from tests.unit.controller.operator.kubelet import Exited, Files, request
from tests.unit.controller.operator.world import World
from workflows.api.migration_plan import MigrationPlanStatus, PlannedVm

NAME: Final = "prod"
UID: Final = "uid-of-the-plan"
PREFIX: Final = "migration.harvesterhci.io/"
DONE: Final = ("virtualMachineRunning", "True", "Succeeded")
FAILED: Final = ("VMMigrationFailed", "False", "Unreachable")
RUNNING: Final = ("sourceReady", "Unknown", "Running")


def some_vms(count: int, **more: Any) -> list[Machine]:
    return [
        a_machine(**{"name": f"web-{n}", "source_id": f"vm-{n}", "path": f"/DC0/vm/prod/web-{n}", **more})
        for n in range(1, count + 1)
    ]


class PlanWorld(World):
    """See above. `vms` are those of the source."""

    def __init__(self, *vms: Machine, namespace: str = "default", **spec: Any) -> None:
        super().__init__()
        self.cluster.drop(IMPORT, "web", "default")
        self.vms: Sequence[Machine] = vms or some_vms(4)
        self.namespace = namespace
        self.key = ImportKey(namespace, NAME, MIGRATION_PLAN)
        self.script.answer = self._answer
        self.answer: Exited | None = None
        """What the check pod answers instead of a selection."""
        self.cluster.namespaces.add(namespace)
        self.apply(**spec)

    def _answer(self, pod: Object, files: Files) -> Exited | None:
        assert pod["spec"]["containers"][0]["command"] == ["python", "-m", SELECT]
        if self.answer is not None:
            return self.answer
        wanted = Listing.model_validate_json(request(files))
        try:
            lines = to_lines(pack(select(self.vms, wanted.source.kind, wanted.select)))
        except StepError as error:
            return Exited(int(error.code), message=str(error))
        return Exited(0, log="\n".join(lines))

    # --- a user

    def apply(self, **spec: Any) -> None:
        """`kubectl apply` of the plan; omitted fields keep their values."""
        if not hasattr(self, "key"):  # the import of `World`
            super().apply(**spec)
            return
        given = {"sourceCluster": {"kind": "VmwareSource", "name": "vcenter"}, "vms": [{"name": "web-*"}]}
        found = self.cluster.peek(MIGRATION_PLAN, NAME, self.namespace)
        if found is None:
            metadata = {"name": NAME, "namespace": self.namespace, "uid": UID, "generation": 1}
            self.put(MIGRATION_PLAN, metadata, spec=given | spec)
            return
        found["spec"] |= spec
        found["metadata"]["generation"] += 1

    def put(self, kind: Any, metadata: Object, **parts: Any) -> None:
        head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
        self.cluster.put({**head, **parts})

    def annotate_plan(self, **notes: str) -> None:
        marks = {f"{PREFIX}{name}": value for name, value in notes.items()}
        self.cluster.patch(MIGRATION_PLAN, NAME, {"metadata": {"annotations": marks}}, self.namespace)

    # --- the controller

    def look(self, times: int = 1) -> float | None:
        again: float | None = None
        for _ in range(times):
            self.now += timedelta(seconds=5)
            again = reconcile(
                self.cluster, self.options, self.key, self.ledger, lambda: self.now, self.checks
            )
            self.kubelet.sync()
        return again

    def restart(self) -> None:
        """As after the end of the controller: what it remembers is gone."""
        self.checks = CheckPods(self.cluster, self.options, clock=self._seconds)
        self.checks.poll()

    def begin(self) -> PlanWorld:
        """Reconcile until the VMs are selected and the first imports exist."""
        self.look(3)
        return self

    # --- the imports

    def end(self, *numbers: int, state: tuple[str, str, str] = DONE) -> None:
        """Write the status of imports, by the numbers of their VMs."""
        for number in numbers:
            found = self.cluster.peek(IMPORT, f"{NAME}-web-{number}", self.namespace)
            assert found is not None
            phase, succeeded, reason = state
            condition = {"type": "Succeeded", "status": succeeded, "reason": reason, "message": "why"}
            found["status"] = {
                "importStatus": phase,
                "message": f"why {number}",
                "workflow": {"name": f"vmi-{number}-0a1b2c3d-g1"},
                "importConditions": [condition],
            }

    # --- current objects

    @property
    def plan(self) -> Object:
        found = self.cluster.peek(MIGRATION_PLAN, NAME, self.namespace)
        assert found is not None
        return found

    @property
    def state(self) -> MigrationPlanStatus:
        return MigrationPlanStatus.read(self.plan.get("status"))

    def vm(self, number: int) -> PlannedVm:
        return next(vm for vm in self.state.vms if vm.id == f"vm-{number}")

    def imports(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.cluster.all(IMPORT, self.namespace)]

    def import_of(self, number: int) -> Object:
        found = self.cluster.peek(IMPORT, f"{NAME}-web-{number}", self.namespace)
        assert found is not None
        return found

    def plan_events(self) -> list[str]:
        return [one["reason"] for one in self.cluster.all(EVENT, self.namespace)]
