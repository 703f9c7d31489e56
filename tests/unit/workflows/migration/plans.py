"""Plans and VMs of plans with defaults; each test sets only the fields it tests."""

from __future__ import annotations

from typing import Any

from steps.model.kinds import API_VERSION
from workflows.api.migration_plan import MigrationPlan, MigrationPlanSpec, PlannedVm, VmPhase

SOURCE: dict[str, Any] = {"kind": "VmwareSource", "name": "vcenter"}


def a_plan(name: str = "prod", namespace: str = "default", **spec: Any) -> MigrationPlan:
    """A plan as the API stores it; `spec` has the API's own names."""
    return MigrationPlan.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "MigrationPlan",
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
            "spec": {"sourceCluster": SOURCE, "vms": [{"name": "*"}], **spec},
        }
    )


def a_spec(**spec: Any) -> MigrationPlanSpec:
    return a_plan(**spec).spec


def a_vm(number: int, phase: VmPhase = VmPhase.PENDING, wave: int = 1, **more: Any) -> PlannedVm:
    given: dict[str, Any] = {
        "id": f"vm-{number}",
        "vm": f"/DC0/vm/web-{number}",
        "import_": f"prod-web-{number}",
        "wave": wave,
        "phase": phase,
        "uid": "" if phase == VmPhase.PENDING else f"uid-{number}",
    }
    return PlannedVm(**{**given, **more})
