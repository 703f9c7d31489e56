"""The import of a VM of a plan, its retry, and what its status means."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.kinds import Object
from tests.unit.workflows.migration.plans import a_plan, a_vm
from workflows.api.migration_plan import VmPhase
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import Condition, ConditionStatus, ImportStatus, WorkflowReference
from workflows.migration.imports import (
    LONGEST_MESSAGE,
    is_owned,
    judge,
    manifest,
    retry_patch,
    see,
    spec_of,
)

ROWS = [{"name": "web-1", "overrides": {"memory": "8Gi", "networkMapping": []}}, {"name": "*"}]
TEMPLATE = {"memory": "4Gi", "cpus": 2, "networkMapping": [{"sourceNetwork": "a", "destinationNetwork": "b"}]}


def test_an_import_has_the_template_and_the_overrides_of_its_row() -> None:
    plan = a_plan(vms=ROWS, template=TEMPLATE)
    spec = spec_of(plan, a_vm(1))
    assert spec == {
        "memory": "8Gi",
        "cpus": 2,
        "networkMapping": [],
        "virtualMachineName": "/DC0/vm/web-1",
        "sourceCluster": {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "VmwareSource",
            "name": "vcenter",
            "namespace": "default",
        },
    }
    assert spec_of(plan, a_vm(2, row=1))["memory"] == "4Gi"
    assert spec_of(plan, a_vm(2, row=7))["memory"] == "4Gi"


def test_a_name_that_the_plan_chose_gives_way_to_one_of_the_row() -> None:
    rows = [{"name": "web-1", "overrides": {"targetVirtualMachineName": "front"}}, {"name": "*"}]
    plan = a_plan(vms=rows)
    assert spec_of(plan, a_vm(1, target="web-vm-1"))["targetVirtualMachineName"] == "front"
    assert spec_of(plan, a_vm(1, row=1, target="web-vm-1"))["targetVirtualMachineName"] == "web-vm-1"


def test_an_import_is_an_ordinary_one_that_the_plan_owns() -> None:
    plan = a_plan(namespace="team")
    made = manifest(plan, a_vm(1))
    VirtualMachineImport.model_validate(made, by_alias=True, by_name=False)
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("team", "prod-web-1")
    assert made["metadata"]["labels"] == {"migration.harvesterhci.io/plan": "prod"}
    assert is_owned(made, "uid-prod")
    assert not is_owned(made, "uid of a plan that was deleted")


def retried(old: Object, **template: Any) -> Object:
    """What a retry sends for an import that was made with memory 4Gi."""
    made = manifest(a_plan(template={"memory": "4Gi", "storageClass": "fast"}), a_vm(1))
    made["spec"] |= old
    return retry_patch(a_plan(template=template), a_vm(1), made)


def test_a_retry_gives_the_import_the_changed_template() -> None:
    patch = retried({}, memory="8Gi")
    assert patch["spec"] == {
        "memory": "8Gi",
        "storageClass": None,
        "sourceCluster": {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "VmwareSource",
            "name": "vcenter",
            "namespace": "default",
        },
        "virtualMachineName": "/DC0/vm/web-1",
    }
    assert patch["metadata"]["annotations"]["migration.harvesterhci.io/retry"] == "true"


def test_a_retry_keeps_what_a_person_edited_while_the_template_is_the_same() -> None:
    patch = retried({"memory": "16Gi"}, memory="4Gi", storageClass="fast")
    assert "spec" not in patch


def test_a_retry_of_a_vm_that_no_row_selects_any_more_keeps_its_spec() -> None:
    made = manifest(a_plan(vms=ROWS, template=TEMPLATE), a_vm(1))
    patch = retry_patch(a_plan(vms=[{"name": "x", "overrides": {"cpus": 9}}]), a_vm(1, row=-1), made)
    assert "spec" not in patch
    assert list(patch["metadata"]["annotations"]) == ["migration.harvesterhci.io/retry"]
    assert "cpus" not in spec_of(a_plan(vms=[{"name": "x", "overrides": {"cpus": 9}}]), a_vm(1, row=-1))


def an_import_status(phase: str, succeeded: str, reason: str, *, has_run: bool = True) -> ImportStatus:
    condition = Condition(type="Succeeded", status=ConditionStatus(succeeded), reason=reason, message="why")
    workflow = WorkflowReference(name="vmi-web-0a1b2c3d-g1") if has_run else None
    return ImportStatus(import_status=phase, import_conditions=(condition,), workflow=workflow)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ImportStatus(), VmPhase.WAITING),
        (an_import_status("", "Unknown", "SourceNotReady", has_run=False), VmPhase.WAITING),
        (an_import_status("", "Unknown", "Cancelled", has_run=False), VmPhase.CANCELLED),
        (an_import_status("sourceReady", "Unknown", "Running"), VmPhase.RUNNING),
        (an_import_status("virtualMachineRunning", "True", "Succeeded"), VmPhase.SUCCEEDED),
        (an_import_status("virtualMachineCreated", "True", "Succeeded"), VmPhase.SUCCEEDED),
        (an_import_status("virtualMachineCreated", "Unknown", "Running"), VmPhase.RUNNING),
        (an_import_status("VMMigrationFailed", "False", "Unreachable"), VmPhase.FAILED),
        (an_import_status("VMMigrationFailed", "False", "Cancelled"), VmPhase.CANCELLED),
        (an_import_status("virtualMachineImportInvalid", "False", "Invalid"), VmPhase.FAILED),
        (an_import_status("virtualMachineImportInvalid", "False", "NameTaken"), VmPhase.WAITING),
    ],
)
def test_the_phase_of_an_import_for_its_plan(status: ImportStatus, expected: VmPhase) -> None:
    assert judge(status)[0] is expected


def test_a_failed_import_whose_retry_was_requested_waits() -> None:
    failed = an_import_status("VMMigrationFailed", "False", "Unreachable")
    assert judge(failed, is_retried=True)[:2] == (VmPhase.WAITING, "RetryRequested")


def test_a_message_is_short_and_printable() -> None:
    status = ImportStatus(import_status="VMMigrationFailed", message="\x1b[31m" + "x" * 1000)
    message = judge(status)[2]
    assert len(message) == LONGEST_MESSAGE
    assert message.isprintable()


@pytest.mark.parametrize(
    ("phase", "generation", "annotated", "expected"),
    [
        ("VMMigrationFailed", 1, False, VmPhase.FAILED),
        ("VMMigrationFailed", 1, True, VmPhase.WAITING),
        ("virtualMachineImportInvalid", 1, True, VmPhase.FAILED),
        ("virtualMachineImportInvalid", 2, False, VmPhase.WAITING),
    ],
)
def test_a_refused_import_holds_nothing_up_until_somebody_corrects_it(
    phase: str, generation: int, annotated: bool, expected: VmPhase
) -> None:
    status = an_import_status(phase, "False", "Invalid").model_copy(update={"observed_generation": 1})
    annotations = {"migration.harvesterhci.io/retry": "true"} if annotated else {}
    metadata = {"name": "web", "uid": "u", "generation": generation, "annotations": annotations}
    assert see({"metadata": metadata, "status": status.to_document()}).phase is expected
