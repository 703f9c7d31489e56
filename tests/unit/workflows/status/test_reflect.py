"""`reflect()`: a situation, and the status that the import gets."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from controller.local.record import Record
from tests.unit.builders import an_import
from tests.unit.workflows.status.situations import (
    DISKS,
    IMPORT,
    NOW,
    RELEASE,
    RUN,
    WORDS,
    Json,
    a_shape,
    at,
    exited,
    failed,
    found,
    later,
    node,
    reflected,
    summary,
    upto,
    workflow,
)
from workflows.api.conditions import find
from workflows.api.status import Condition, ImportPhase, ImportStatus, WorkflowReference
from workflows.stages import stage_named
from workflows.status.locks import describe_lock
from workflows.status.reflect import announce, progress_value, reflect

PHASES = [
    ([], ImportPhase.NEW),
    ([node("preflight", "Running")], ImportPhase.NEW),
    ([found()], ImportPhase.VALID),
    ([found(), node("approve-poweroff", "Running", kind="Suspend")], ImportPhase.VALID),
    ([found(), node("poweroff", "Running")], ImportPhase.SOURCE_READY),
    ([*upto("export"), node("export", "Running", "disk-0")], ImportPhase.SOURCE_READY),
    ([*upto("convert"), node("convert", "Succeeded", "disk-0")], ImportPhase.SOURCE_READY),
    (upto("image"), ImportPhase.DISKS_EXPORTED),
    ([*upto("image"), node("image", "Running", "disk-0")], ImportPhase.DISKS_EXPORTED),
    ([*upto("image"), *(node("image", "Running", disk) for disk in DISKS)], ImportPhase.IMAGES_SUBMITTED),
    (
        [*upto("image"), node("image", "Running", "disk-0"), failed("image", 13, WORDS, "disk-1")],
        ImportPhase.IMAGE_FAILED,
    ),
    ([*upto("convert", ("disk-0",)), node("export", "Running", "disk-1")], ImportPhase.SOURCE_READY),
    ([*upto("image"), *(node("image", disk=disk) for disk in DISKS)], ImportPhase.IMAGES_READY),
    ([*upto("build"), node("build", "Running")], ImportPhase.IMAGES_READY),
    (upto("start"), ImportPhase.CREATED),
    ([*upto("start"), node("start", "Running")], ImportPhase.CREATED),
    ([*upto("start"), node("start")], ImportPhase.RUNNING),
]


@pytest.mark.parametrize(("nodes", "import_phase"), PHASES)
def test_a_running_workflow_has_its_phase(nodes: list[Json], import_phase: ImportPhase) -> None:
    assert reflected(*nodes).import_status == import_phase


OVER = [  # nodes, end of the Workflow, (importStatus, step, reason)
    ([failed("preflight", 14, "no vm")], {}, (ImportPhase.INVALID, "preflight", "NotFound")),
    ([found(), failed("admit", 19, "duplicate MAC")], {}, (ImportPhase.INVALID, "admit", "Conflict")),
    (
        [*upto("image"), failed("image", 13, WORDS, "disk-1")],
        {},
        (ImportPhase.FAILED, "image disk-1", "NoSpace"),
    ),
    (
        [*upto("image"), failed("image", None, "pod deleted", "disk-1")],
        {},
        (ImportPhase.FAILED, "image disk-1", "StepFailed"),
    ),
    (
        [*upto("export"), failed("export", 143, "stopped", "disk-0")],
        {"spec": {"shutdown": "Stop"}},
        (ImportPhase.FAILED, "", "Cancelled"),
    ),
    (
        [failed("preflight", 143, "stopped")],
        {"message": "Stopped with strategy 'Stop'"},
        (ImportPhase.FAILED, "", "Cancelled"),
    ),
    (
        [*upto("image"), failed("serve", 20, "the image failed", "disk-1")],
        {},
        (ImportPhase.FAILED, "", "WorkflowFailed"),
    ),
    (
        [*upto("image"), failed("serve", 20, "the image failed", "disk-1"), exited()],
        {},
        (ImportPhase.FAILED, "", "WorkflowFailed"),
    ),
    ([found()], {"message": "invalid spec: no such template"}, (ImportPhase.FAILED, "", "WorkflowFailed")),
    ([], {"phase": "Error"}, (ImportPhase.FAILED, "", "WorkflowFailed")),
    (
        [*upto("start"), node("start"), failed(RELEASE, None, "pod deleted")],
        {},
        (ImportPhase.RUNNING, "", "VirtualMachineRunning"),
    ),
    (
        [*upto("start"), failed(RELEASE, None, "pod deleted")],
        {},
        (ImportPhase.CREATED, "", "VirtualMachineReady"),
    ),
    (upto("start"), {"phase": "Succeeded"}, (ImportPhase.CREATED, "", "VirtualMachineReady")),
]


@pytest.mark.parametrize(("nodes", "ended", "wanted"), OVER)
def test_an_ended_workflow_has_its_phase_step_and_reason(
    nodes: list[Json], ended: Json, wanted: tuple[Any, ...]
) -> None:
    made = reflected(*nodes, **{"phase": "Failed", **ended})
    assert (made.import_status, made.step, summary(made).reason) == wanted
    assert summary(made).message == made.message != ""


ADMISSION = {
    "findings": [
        {"check": "vm", "verdict": "passed"},
        {"check": "memory", "verdict": "warned", "message": "the guest gets 100 MiB less"},
        {"check": "quota", "verdict": "notChecked", "message": "no right to list quotas"},
    ]
}


def admitted(text: str) -> Json:
    outputs = {"exitCode": "0", "parameters": [{"name": "admission", "value": text}]}
    return node("admit", outputs=outputs)


def test_an_import_is_valid_once_its_target_accepts_it() -> None:
    assert reflected(found(), node("admit", "Running")).import_status == ImportPhase.NEW
    assert reflected(found(), node("admit")).import_status == ImportPhase.VALID


def test_the_answer_of_the_target_becomes_a_condition() -> None:
    made = find(reflected(found(), admitted(json.dumps(ADMISSION))).import_conditions, "TargetAdmitted")
    assert made is not None
    assert (made.status, made.reason) == ("True", "AcceptedWithWarnings")
    assert made.message == "warn: the guest gets 100 MiB less | not checked: quota: no right to list quotas"


@pytest.mark.parametrize("text", ["[]", "", "{", '{"findings": 1}', '{"other": []}'])
def test_an_unreadable_admission_sets_no_condition(text: str) -> None:
    assert find(reflected(found(), admitted(text)).import_conditions, "TargetAdmitted") is None


def test_a_vm_that_is_not_started_is_ready_not_running() -> None:
    off = an_import(startVirtualMachine=False)
    made = reflected(*upto("start"), node("start"), import_=off, phase="Succeeded")
    assert (made.import_status, summary(made).status, made.percent) == (ImportPhase.CREATED, "True", 100)


LOCK = "vmferry/ConfigMap/vmferry-limits/vmwaresource.migrate.vcsim.machines"
WAITING: Json = {
    "synchronizationStatus": {"waiting": LOCK},
    "message": f"Waiting for {LOCK} lock. Lock status: 0/2",
}
GOES_ON = [  # nodes, (reason, step), part of the message
    ([], ("Waiting", ""), "waits for Argo to start it"),
    ([node("preflight", "Running")], ("Running", "preflight"), stage_named("preflight").description),
    (
        [found(), node("approve-poweroff", "Running", kind="Suspend")],
        ("WaitingForApproval", "approve-poweroff"),
        "migration.harvesterhci.io/approve=poweroff",
    ),
    (
        [*upto("start"), node("approve-start", "Running", kind="Suspend")],
        ("WaitingForApproval", "approve-start"),
        "approve=start",
    ),
    ([found()], ("Running", "preflight"), "preflight finished; waiting for the next step"),
    (
        [*upto("export"), *(node("export", "Running", disk) for disk in DISKS)],
        ("Running", "export"),
        ": disk-0, disk-1",
    ),
    (
        [*upto("image"), node("serve", "Running", "disk-0"), node("image", "Running", "disk-0")],
        ("Running", "image"),
        "Create an image from the disk",
    ),
    (
        [
            *upto("convert", ("disk-0",)),
            node("convert", "Running", "disk-0"),
            node("export", "Running", "disk-1"),
        ],
        ("Running", "export"),
        ": disk-1",
    ),
    (  # the least advanced step, also if it has started last
        [
            *upto("convert", ("disk-0",)),
            node("convert", "Running", "disk-0"),
            node("export", "Running", "disk-1", startedAt=at(5)),
        ],
        ("Running", "export"),
        ": disk-1",
    ),
    (  # a message of Argo about a running step is no wait
        [*upto("export"), node("export", "Running", "disk-0", message="Backoff for 10 seconds")],
        ("Running", "export"),
        ": disk-0",
    ),
    (  # of several waits the first by name
        [
            *upto("export"),
            node("export", "Pending", "disk-1", message="Unschedulable: no room for disk-1"),
            node("export", "Pending", "disk-0", message="Unschedulable: no room for disk-0"),
        ],
        ("Waiting", "export disk-0"),
        "no room for disk-0",
    ),
    (
        [*upto("export"), node("export", "Pending", "disk-0", message="ContainerCreating")],
        ("Running", "export"),
        "Starting: ",
    ),
    (
        [
            *upto("export"),
            node("export", "Pending", "disk-0", message="Unschedulable: 0/3 nodes are available"),
        ],
        ("Waiting", "export disk-0"),
        "Unschedulable: 0/3 nodes are available",
    ),
    (
        [
            *upto("export"),
            node(
                "export",
                "Failed",
                "disk-0",
                attempt=0,
                message="main: Error (exit code 32): cut off",
                outputs={"exitCode": "32"},
            ),
        ],
        ("Retrying", "export disk-0"),
        "export disk-0 failed and will be retried: cut off",
    ),
    (
        [
            *upto("export"),
            node("export", "Failed", "disk-0", attempt=0),
            node("export", "Running", "disk-0", attempt=1),
        ],
        ("Running", "export"),
        "(attempt 2)",
    ),
    (
        [*upto("image"), failed("image", 13, WORDS, "disk-1"), node("image", "Running", "disk-0")],
        ("NoSpace", "image disk-1"),
        f"image disk-1 failed: {WORDS}",
    ),
    (
        [*upto("start"), node("start"), node(RELEASE, "Running")],
        ("VirtualMachineRunning", ""),
        "is imported and runs",
    ),
    (
        [failed("preflight", 11, "no"), node(RELEASE, "Running")],
        ("Denied", "preflight"),
        "preflight failed: no",
    ),
    ([node("own-hook", "Running")], ("Running", "own-hook"), "own-hook"),
    (  # a failure is more important than a pod that waits for a lock
        [
            *upto("image"),
            failed("image", 13, WORDS, "disk-1"),
            node("image", "Pending", "disk-0", message="Unschedulable: 0/3 nodes are available"),
        ],
        ("NoSpace", "image disk-1"),
        f"image disk-1 failed: {WORDS}",
    ),
    (  # a person can open a gate, but cannot release a lock
        [
            found(),
            node("approve-poweroff", "Running", kind="Suspend"),
            node("transfer", "Pending", kind="DAG", **WAITING),
        ],
        ("WaitingForApproval", "approve-poweroff"),
        "annotate the import with",
    ),
]


@pytest.mark.parametrize(("nodes", "wanted", "inside"), GOES_ON)
def test_a_running_workflow_has_its_message(nodes: list[Json], wanted: tuple[str, str], inside: str) -> None:
    made = reflected(*nodes)
    assert (summary(made).reason, made.step) == wanted
    assert inside in made.message
    assert summary(made).message == made.message


HOLDERS: Json = {
    "synchronization": {
        "semaphore": {
            "waiting": [
                {
                    "semaphore": LOCK,
                    "holders": ["vmferry/vmi-a-1-g1/vmi-a-1-g1-7", "vmferry/vmi-b-2-g1", "?"],
                },
                {"semaphore": "vmferry/ConfigMap/other/x", "holders": ["vmferry/vmi-x/vmi-x-1"]},
            ]
        }
    }
}


def test_a_wait_for_a_lock_names_its_holders() -> None:
    transfer = node("transfer", "Pending", kind="DAG", **WAITING)
    who = {"vmi-b-2-g1": "kill-c", "vmi-a-1-g1": "kill-a"}
    made = reflect(workflow(found(), transfer, **HOLDERS), IMPORT, None, NOW, holder_names=who)
    assert (made.import_status, made.step, summary(made).reason) == (ImportPhase.VALID, "poweroff", "Waiting")
    assert made.message == (
        "poweroff waits for its turn: 2 of 2 VMs of vc are in transfer (kill-a, kill-c); this import "
        "continues when one of them is done. The limit is the key vmwaresource.migrate.vcsim.machines of "
        "ConfigMap vmferry-limits"
    )


TURNS = [  # Argo's text, holders, known imports, our text
    (
        "limits/k.machines lock. Lock status: 0/1",
        ["a"],
        {"a": ""},
        "1 of 1 VMs of vc are in transfer (of other nam",
    ),
    (
        "limits/k.machines lock. Lock status: 0/3",
        ["a", "b", "c"],
        {"a": "web", "b": ""},
        "3 of 3 VMs of vc are in transfer (web, 2 of other namespaces); this import continues",
    ),
    (
        "limits/k.streams lock. Lock status: 0/2",
        ["a", "a"],
        {"a": "web"},
        "2 of 2 disks of vc are being read (web); ",
    ),
    (
        "limits/k.machines lock. Lock status: 1/2",
        [],
        {},
        "1 of 2 VMs of vc are in transfer; older imports go first",
    ),
    (
        "limits/k.machines lock. Lock status: 3/2",
        [],
        {},
        "0 of 2 VMs of vc are in transfer; older imports go first",
    ),
    (
        "limits/k.machines lock (db/1). Lock status: -1/2",
        [],
        {},
        "2 of 2 VMs of vc are in transfer; this import continues",
    ),
    (
        "limits/own lock. Lock status: 0/1",
        ["a"],
        {"a": "web"},
        "Waiting for limits/own lock. Lock status: 0/1",
    ),
    ("something else", ["a"], {"a": "web"}, "Waiting for something else"),
]


@pytest.mark.parametrize(("words", "holders", "who", "ours"), TURNS)
def test_the_lock_message_of_argo_is_translated(
    words: str, holders: list[str], who: dict[str, str], ours: str
) -> None:
    assert describe_lock(f"Waiting for {words}", "vc", holders, who).startswith(ours)


@pytest.mark.parametrize(
    "odd", [None, [], {"semaphore": 1}, {"semaphore": {"waiting": [None, {"holders": "x"}]}}]
)
def test_unreadable_holders_are_ignored(odd: Any) -> None:
    transfer = node("transfer", "Pending", kind="DAG", **WAITING)
    made = reflected(found(), transfer, synchronization=odd)
    assert "2 of 2 VMs of vc are in transfer; this import continues" in made.message


@pytest.mark.parametrize(
    ("attempts", "reason", "message"),
    [
        (5, "Retrying", "export disk-0 failed and will be retried: cut off"),
        (6, "BrokenStream", "export disk-0 failed: cut off"),
    ],
)
def test_a_retry_is_announced_only_while_attempts_are_left(attempts: int, reason: str, message: str) -> None:
    assert stage_named("export").retry.limit == 5
    cut = [failed("export", 32, "cut off", "disk-0", attempt=number) for number in range(attempts)]
    made = reflected(*upto("export"), *cut)
    assert (summary(made).reason, made.message) == (reason, message)


def test_the_disks_of_a_step_are_in_order() -> None:
    disks = ("disk-10", "disk-2")
    made = reflected(*upto("export", disks), *(node("export", "Running", disk) for disk in disks))
    assert made.message.endswith(": disk-2, disk-10")


def test_work_is_reported_before_a_wait_for_a_lock() -> None:
    waiting_nodes = [*upto("export"), node("export", "Pending", "disk-1", kind="Retry", **WAITING)]
    assert reflected(*waiting_nodes).step == "export disk-1"
    assert reflected(*waiting_nodes, node("export", "Running", "disk-0")).step == "export"


def test_paused_and_cancelled_workflows_have_their_reasons() -> None:
    busy = [*upto("export"), node("export", "Running", "disk-0")]
    paused = reflected(*busy, spec={"suspend": True})
    assert (summary(paused).reason, paused.step) == ("Paused", "export")
    assert paused.message.startswith("Paused: ")
    assert summary(reflected(*busy, spec={"shutdown": "Stop", "suspend": True})).reason == "Cancelling"
    assert reflected(*busy, spec={"shutdown": "Stop"}).step == "stop"
    assert reflected(*busy, node(RELEASE, "Running"), spec={"shutdown": "Stop"}).step == "release-source"


BLAME = [  # nodes, title of the step to blame, its message
    (
        [failed("serve", 20, "s", "disk-1", end=1), failed("image", 13, WORDS, "disk-1", end=2)],
        "image disk-1",
        WORDS,
    ),
    (
        [failed("export", 32, "late", "disk-0", end=9), failed("export", 13, "first", "disk-1", end=8)],
        "export disk-1",
        "first",
    ),
    (
        [failed("export", None, "", "disk-0")],
        "export disk-0",
        "export disk-0 failed without an error message; see its log, then retry",
    ),
    (
        [failed("export", 137, "", "disk-0", message="main: OOMKilled (exit code 137)")],
        "export disk-0",
        "export disk-0 ended without an error message: OOMKilled (exit code 137); see its log, then retry",
    ),
    (
        [failed("export", 13, "", "disk-0", message="Error (exit code 13): of Argo 3.6")],
        "export disk-0",
        "of Argo 3.6",
    ),
    ([failed("export", 1, "a (b): c", "disk-0")], "export disk-0", "a (b): c"),
    (
        [failed(RELEASE, 1, "no", end=1), failed("build", 19, "taken", end=2)],
        "build",
        "taken",
    ),
    ([failed("onExit", 1, "no", end=1), failed("build", 19, "taken", end=2)], "build", "taken"),
]


@pytest.mark.parametrize(("nodes", "title", "words"), BLAME)
def test_a_failed_workflow_has_its_step_and_message(nodes: list[Json], title: str, words: str) -> None:
    made = reflected(*nodes, phase="Failed")
    assert (made.step, made.message) == (title, words)


def test_the_error_of_argo_is_the_message() -> None:
    lock = node("transfer", "Error", kind="DAG", message="Sync configuration key not found")
    assert reflected(found(), lock, phase="Error").message == "Sync configuration key not found"


def conditions(status: ImportStatus) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in status.import_conditions if one.type != "Succeeded"}


def test_conditions_of_a_graceful_and_of_a_hard_power_off() -> None:
    hard = an_import(forcePowerOff=True)
    asked = [found(), node("poweroff", "Running")]
    assert conditions(reflected(*asked)) == {"VMShutdownGuest": ("True", "ShutdownAsked")}
    assert conditions(reflected(*asked, import_=hard)) == {"VMPoweringOff": ("True", "PowerOffAsked")}
    assert conditions(reflected(*upto("export")))["VMPoweredOff"] == ("True", "PoweredOff")
    assert conditions(reflected(found(), node("poweroff", "Pending"))) == {}


def test_conditions_of_an_export() -> None:
    assert conditions(reflected(*upto("image")))["VMExported"] == ("True", "Exported")
    broken = reflected(*upto("export"), failed("export", 13, WORDS, "disk-0"), phase="Failed")
    made = find(broken.import_conditions, "VMExportFailed")
    assert made is not None
    assert made.message == f"error exporting VM: {WORDS}"


@pytest.mark.parametrize("stage", ["export", "convert"])
def test_an_export_has_failed_when_its_workflow_has(stage: str) -> None:
    nodes = [*upto(stage), failed(stage, 13, WORDS, "disk-0")]
    assert conditions(reflected(*nodes, phase="Failed"))["VMExportFailed"] == ("True", "ExportFailed")
    assert "VMExportFailed" not in conditions(reflected(*nodes))
    assert "VMExportFailed" not in conditions(reflected(*nodes, phase="Failed", spec={"shutdown": "Stop"}))


def test_a_failed_image_is_no_failed_export() -> None:
    broken = reflected(*upto("image"), failed("image", 13, WORDS, "disk-1"), phase="Failed")
    assert "VMExportFailed" not in conditions(broken)


def test_a_retry_moves_a_failed_import_back_to_running() -> None:
    broken = reflected(*upto("export"), failed("export", 13, WORDS, "disk-0"), phase="Failed")
    again = reflected(*upto("export"), node("export", "Running", "disk-0"), previous=broken, now=later(60))
    assert (again.import_status, summary(again).status) == (ImportPhase.SOURCE_READY, "Unknown")
    assert conditions(again)["VMExportFailed"] == ("False", "TriedAgain")
    assert WORDS not in again.message


def test_conditions_of_disks() -> None:
    broken = failed("image", 13, WORDS, "disk-1", progress="3/9")
    nodes = [*upto("image"), node("image", disk="disk-0"), broken]
    rows = reflected(*nodes).disk_import_status
    assert [[(one.type, one.status) for one in row.disk_conditions] for row in rows] == [
        [("VirtualMachineImageSubmitted", "True"), ("VirtualMachineImageReady", "True")],
        [("VirtualMachineImageSubmitted", "True"), ("VirtualMachineImageFailed", "True")],
    ]
    assert rows[1].disk_conditions[1].message == WORDS


def test_a_refused_image_was_not_submitted() -> None:
    """As by a quota: there never was an image, so nothing may report that one is being filled."""
    before = reflected(*upto("image"), node("image", "Running", "disk-0"))
    assert (
        conditions_of(before, "VirtualMachineImageSubmitted").message
        == "The target was asked to create the image"
    )
    after = reflected(*upto("image"), failed("image", 13, WORDS, "disk-0"), previous=before, now=later(5))
    assert conditions_of(after, "VirtualMachineImageSubmitted").status == "False"


def conditions_of(status: ImportStatus, kind: str) -> Condition:
    """A condition of the first disk."""
    found = find(status.disk_import_status[0].disk_conditions, kind)
    assert found is not None
    return found


def test_a_disk_has_its_row() -> None:
    made = [{"name": "image", "value": "image-7"}, {"name": "digest", "value": "sha512:ab"}]
    nodes = [*upto("image"), node("image", disk="disk-0", outputs={"exitCode": "0", "parameters": made})]
    row = reflected(*nodes, shape=a_shape(1 << 30, 2 << 30)).disk_import_status[0]
    assert (row.disk_name, row.disk_size, row.bus_type) == ("disk-0", 1 << 30, "virtio")
    assert (row.virtual_machine_image, row.digest, row.percent) == ("image-7", "sha512:ab", 100)


def chose(**names: str) -> Json:
    """A finished `admit`: the volumes' names, by disks without their dash."""
    by_disk = {disk.replace("disk", "disk-"): name for disk, name in names.items()}
    value = json.dumps({"version": "1", "vm": "web", "names": by_disk})
    return node("admit", outputs={"exitCode": "0", "parameters": [{"name": "volumes", "value": value}]})


def disk_names(status: ImportStatus) -> list[tuple[str, str]]:
    return [(row.disk, row.disk_name) for row in status.disk_import_status]


def test_a_disk_has_the_name_of_its_chosen_volume() -> None:
    before = reflected(found(), node("admit", "Running"))
    assert disk_names(before) == [("disk-0", "disk-0"), ("disk-1", "disk-1")]
    nodes = [found(), chose(disk0="web-disk-0", disk1="web-disk-1-0a1b2c")]
    after = reflected(*nodes, previous=before)
    assert disk_names(after) == [("disk-0", "web-disk-0.img"), ("disk-1", "web-disk-1-0a1b2c.img")]
    retried = reflected(found(), node("admit", "Running"), previous=after)
    assert disk_names(retried) == disk_names(after), "a name does not go while it is chosen again"


def test_the_volume_name_of_image_has_precedence() -> None:
    made = {"exitCode": "0", "parameters": [{"name": "volume", "value": "web-disk-0-9f8e7d"}]}
    nodes = [
        found(),
        chose(disk0="web-disk-0", disk1="web-disk-1"),
        node("image", disk="disk-0", outputs=made),
    ]
    assert disk_names(reflected(*nodes))[0] == ("disk-0", "web-disk-0-9f8e7d.img")


def test_disks_of_older_runs_keep_their_names() -> None:
    old = {"importStatus": "sourceReady", "diskImportStatus": [{"diskName": "disk-0", "percent": 40}]}
    before = ImportStatus.read({**old, "workflow": {"name": RUN, "generation": 1}})
    after = reflected(found(("disk-0",)), chose(), previous=before)
    assert disk_names(after) == [("disk-0", "disk-0")]
    assert after.disk_import_status[0].percent == 40


@pytest.mark.parametrize("text", ["[]", "", "{", '{"names": {"disk-0": "../x"}}', '{"names": 7}'])
def test_unreadable_names_are_ignored(text: str) -> None:
    outputs = {"exitCode": "0", "parameters": [{"name": "volumes", "value": text}]}
    assert disk_names(reflected(found(("disk-0",)), node("admit", outputs=outputs))) == [("disk-0", "disk-0")]


def test_disks_are_known_from_preflight_on_and_in_order() -> None:
    names = tuple(f"disk-{number}" for number in range(11))
    assert [row.disk_name for row in reflected(found(names)).disk_import_status] == list(names)


def exporting(done: int, total: int = 1000, **more: Any) -> ImportStatus:
    return reflected(
        found(("disk-0",)),
        node("poweroff"),
        node("export", "Running", "disk-0", progress=f"{done}/{total}"),
        **more,
    )


def test_percent_is_by_the_weights_of_the_stages() -> None:
    assert exporting(500).disk_import_status[0].percent == 35
    done = reflected(*upto("image", ("disk-0",)), node("image", "Running", "disk-0", progress="250/1000"))
    assert done.disk_import_status[0].percent == 85


def test_disks_are_weighted_by_their_known_sizes() -> None:
    nodes = [*upto("convert", ("disk-0",)), node("export", "Running", "disk-1")]
    assert reflected(*nodes).percent == 95 * 70 // 200
    assert reflected(*nodes, shape=a_shape(3 << 30, 1 << 30)).percent == 95 * 70 * 3 // 400


def test_rate_and_remaining_time_are_computed() -> None:
    first = exporting(100)
    assert (first.disk_import_status[0].bytes_per_second, first.eta) == (0, "")
    second = exporting(300, previous=first, now=later(10))
    row = second.disk_import_status[0]
    assert (row.step, row.bytes_done, row.bytes_total, row.bytes_per_second) == ("export", 300, 1000, 20)
    assert row.seconds_left == 35 + 21 + 1  # 700 bytes, then 30 of 100 parts as slow as the 70 before
    assert second.eta == "57s"


def test_a_rate_is_damped_by_the_one_before() -> None:
    second = exporting(300, previous=exporting(100), now=later(10))
    third = exporting(900, previous=second, now=later(20))
    assert third.disk_import_status[0].bytes_per_second == (20 + 60) // 2


def test_a_rate_is_kept_while_nothing_arrives_and_dropped_when_it_stalls() -> None:
    second = exporting(300, previous=exporting(100), now=later(10))
    kept = exporting(300, previous=second, now=later(60))
    assert kept.disk_import_status == second.disk_import_status
    stalled = exporting(300, previous=kept, now=later(300))
    assert (stalled.disk_import_status[0].bytes_per_second, stalled.eta) == (0, "")


def test_a_disk_without_reported_progress_counts_all_its_bytes() -> None:
    """Argo reports progress every ten seconds: of a small disk, no byte is ever reported."""
    size = 256 << 20
    exported = reflected(*upto("convert", ("disk-0",)), shape=a_shape(size))
    row = exported.disk_import_status[0]
    assert (row.step, row.bytes_done, row.bytes_total, row.percent) == ("export", size, size, 70)
    done = reflected(
        *upto("build", ("disk-0",)), shape=a_shape(size), previous=exported, now=later(5)
    ).disk_import_status[0]
    assert (done.step, done.bytes_done, done.bytes_total, done.percent) == ("image", size, size, 100)


def test_bytes_that_were_counted_are_not_replaced_by_a_guess() -> None:
    counted = [*upto("export", ("disk-0",)), node("export", disk="disk-0", progress="300/300")]
    row = reflected(*counted, node("convert", disk="disk-0"), shape=a_shape(1 << 30)).disk_import_status[0]
    assert (row.step, row.bytes_done, row.bytes_total) == ("export", 300, 300)


def test_bytes_that_were_counted_earlier_are_not_replaced_by_a_guess() -> None:
    """Argo keeps no progress of a step whose pod is gone."""
    before = exporting(300, shape=a_shape(1 << 30))
    ended = [*upto("export", ("disk-0",)), node("export", disk="disk-0")]
    row = reflected(*ended, previous=before, shape=a_shape(1 << 30), now=later(9)).disk_import_status[0]
    assert (row.step, row.bytes_done, row.bytes_total) == ("export", 300, 1000)


def test_a_new_attempt_restarts_bytes_but_not_the_percentage() -> None:
    second = exporting(300, previous=exporting(100), now=later(10))
    again = exporting(50, previous=second, now=later(20)).disk_import_status[0]
    assert (again.bytes_done, again.bytes_per_second, again.percent) == (50, 0, 21)


def test_bytes_of_the_step_before_give_no_rate() -> None:
    nodes = [*upto("image", ("disk-0",)), node("image", "Running", "disk-0", progress="500/1000")]
    row = reflected(*nodes, previous=exporting(300), now=later(10)).disk_import_status[0]
    assert (row.step, row.bytes_done, row.bytes_per_second, row.seconds_left) == ("image", 500, 0, 0)


def test_two_reports_in_the_same_second_keep_the_rate() -> None:
    second = exporting(300, previous=exporting(100), now=later(10))
    third = exporting(500, previous=second, now=later(10))
    assert third.disk_import_status[0].bytes_per_second == 20


def test_a_failed_step_keeps_its_bytes() -> None:
    broken = failed("export", 13, WORDS, "disk-0", progress="300/1000")
    row = reflected(*upto("export", ("disk-0",)), broken, phase="Failed").disk_import_status[0]
    assert (row.step, row.bytes_done, row.bytes_total, row.bytes_per_second) == ("export", 300, 1000, 0)


def test_an_import_without_known_disks_has_0_percent() -> None:
    assert reflected(node("preflight", "Running")).percent == 0


def test_the_vm_is_created_at_97_percent() -> None:
    assert reflected(*upto("start"), node("start", "Running")).percent == 97


def test_the_annotation_is_the_percentage() -> None:
    assert progress_value(exporting(500)) == "33"
    assert progress_value(reflected(*upto("start"), node("start"), phase="Succeeded")) == "100"
    assert (
        progress_value(reflected(*upto("image"), failed("image", 13, WORDS, "disk-1"), phase="Failed"))
        == "76"
    )


# --- values that must not go back


def test_a_percentage_is_at_most_100() -> None:
    before = ImportStatus.read({"percent": 700, "workflow": {"name": RUN, "generation": 1}})
    assert reflected(found(), previous=before).percent == 100


def test_running_is_final() -> None:
    over = reflected(*upto("start"), node("start"), phase="Succeeded")
    for other in (
        None,
        {},
        workflow(phase="Failed"),
        workflow(node("preflight", "Running"), name="vmi-x-g9"),
    ):
        assert reflect(other, IMPORT, over, later(60)) is over


def test_a_workflow_of_an_earlier_generation_is_ignored() -> None:
    run = WorkflowReference(name="vmi-web-0a1b2c3d-g2", namespace="vmferry", generation=2)
    announced = announce(IMPORT, reflected(*upto("image")), run, NOW)
    assert reflected(phase="Failed", previous=announced) is announced


def test_the_name_of_the_vm_is_what_the_spec_asks_for_until_preflight_has_found_it() -> None:
    import_ = an_import(targetVirtualMachineName="Web 01")
    before = reflected(import_=import_)
    assert before.imported_virtual_machine_name == "Web 01"
    after = reflected(found(), previous=before, import_=import_, shape=a_shape(1 << 30))
    assert after.imported_virtual_machine_name == "web01"
    assert reflected(previous=after, import_=import_).imported_virtual_machine_name == "web01"


def test_another_workflow_of_the_same_generation_is_followed() -> None:
    run = WorkflowReference(name=RUN, namespace="vmferry", generation=1)
    announced = announce(IMPORT, None, run, NOW)
    made = reflected(found(), name=f"{RUN}-r1", previous=announced)
    assert made.workflow is not None
    assert (made.workflow.name, made.import_status) == (f"{RUN}-r1", ImportPhase.VALID)


@pytest.mark.parametrize(
    ("name", "generation"),
    [("vmi-a-0a1b2c3d-g12", 12), ("vmi-a-0a1b2c3d-g2-r3", 2), ("vmi-a-g7-b-0a1b2c3d-g4", 4), ("by-hand", 1)],
)
def test_the_generation_is_that_of_the_name(name: str, generation: int) -> None:
    run = reflected(found(), name=name).workflow
    assert run is not None
    assert run.generation == generation


def test_a_new_run_starts_at_zero_and_a_retry_at_its_percentage() -> None:
    before = reflected(*upto("image"), failed("image", 13, WORDS, "disk-1"), phase="Failed")
    run = WorkflowReference(name=f"{RUN}-r2", namespace="vmferry", generation=1)
    retry = announce(IMPORT, before, run, later(9))
    assert (retry.import_status, retry.percent, retry.workflow) == (ImportPhase.NEW, 76, run)
    assert retry.observed_generation == IMPORT.metadata.generation
    next_run = announce(IMPORT, before, run.model_copy(update={"generation": 2}), later(9))
    assert (next_run.percent, next_run.disk_import_status, summary(next_run).status) == (0, (), "Unknown")


def test_link_and_plan_in_the_status_are_kept() -> None:
    before = ImportStatus.read(
        {"workflow": {"name": RUN, "generation": 1, "link": "https://argo"}, "planned": {"hash": "h"}}
    )
    made = reflected(found(), previous=before)
    assert made.workflow is not None
    assert (made.workflow.link, made.workflow.namespace) == ("https://argo", "vmferry")
    assert made.planned == before.planned


# --- no Workflow


GONE = [  # the status before, (importStatus, reason) after
    (reflected(*upto("export")), (ImportPhase.FAILED, "WorkflowGone")),
    (
        reflected(*upto("image"), failed("image", 13, WORDS, "disk-1"), phase="Failed"),
        (ImportPhase.FAILED, "WorkflowGone"),
    ),
    (reflected(failed("preflight", 11, "no"), phase="Failed"), (ImportPhase.INVALID, "Denied")),
    (reflected(spec={"shutdown": "Stop"}, phase="Failed"), (ImportPhase.FAILED, "Cancelled")),
    (reflected(*upto("start"), phase="Succeeded"), (ImportPhase.CREATED, "VirtualMachineReady")),
    (reflected(node("preflight", "Running")), (ImportPhase.NEW, "Running")),
]


@pytest.mark.parametrize(("before", "wanted"), GONE)
def test_a_deleted_workflow_fails_the_import(before: ImportStatus, wanted: tuple[str, str]) -> None:
    after = reflect(None, IMPORT, before, later(60))
    assert (after.import_status, summary(after).reason) == wanted
    assert reflect(None, IMPORT, after, later(120)) == after


def test_the_cause_stays_after_the_workflow_is_deleted() -> None:
    after = reflect(None, IMPORT, GONE[1][0], later(60))
    assert after.message.startswith(WORDS)
    assert after.percent == GONE[1][0].percent


def test_a_status_of_vm_import_controller_is_kept() -> None:
    foreign = ImportStatus.read({"importStatus": "sourceReady"})
    assert reflect(None, IMPORT, foreign, NOW) is foreign
    assert reflect(None, IMPORT, None, NOW) == ImportStatus()


# --- what cannot be read


def packed(nodes: Json) -> str:
    return base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()


def test_compressed_nodes_are_read() -> None:
    plain = workflow(*upto("image"))
    nodes = plain["status"].pop("nodes")
    plain["status"]["compressedNodes"] = packed(nodes)
    assert reflect(plain, IMPORT, None, NOW) == reflected(*upto("image"))


@pytest.mark.parametrize(
    "hidden",
    [
        {"offloadNodeStatusVersion": "fnv:1"},
        {"compressedNodes": "?"},
        {"compressedNodes": "KLUv/QA="},
        {"compressedNodes": 7},
    ],
)
def test_nodes_that_cannot_be_read_leave_the_phase(hidden: Json) -> None:
    before = reflected(*upto("image"))
    running = reflected(previous=before, **hidden)
    assert (running.import_status, running.percent) == (ImportPhase.DISKS_EXPORTED, before.percent)
    assert conditions(running) == conditions(before)
    assert "cannot read its steps" in running.message
    assert (summary(running).reason, running.step) == ("Running", "")
    assert reflected(phase="Succeeded", previous=before, **hidden).import_status == ImportPhase.RUNNING
    off = an_import(startVirtualMachine=False)
    done = reflected(phase="Succeeded", previous=before, import_=off, **hidden)
    assert done.import_status == ImportPhase.CREATED
    assert reflected(phase="Failed", previous=before, **hidden).import_status == ImportPhase.FAILED
    after = reflected(phase="Failed", previous=before, **hidden)
    assert reflected(previous=after, **hidden).import_status == ImportPhase.SOURCE_READY


def test_a_compressed_status_is_not_unpacked_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb: a few kilobytes that unpack to far more than any Workflow has."""
    plain = workflow(*upto("image"))
    nodes = plain["status"].pop("nodes")
    nodes["0"]["padding"] = "0" * (1 << 20)
    plain["status"]["compressedNodes"] = packed(nodes)
    assert reflect(plain, IMPORT, None, NOW) == reflected(*upto("image"))
    monkeypatch.setattr("steps.model.workflow_nodes.UNPACKED_LIMIT", 1 << 20)
    assert "cannot read its steps" in reflect(plain, IMPORT, None, NOW).message


@pytest.mark.parametrize("what", [{}, [], "x", 7, {"metadata": None}, {"metadata": {"name": 3}}])
def test_an_object_that_is_not_a_workflow_changes_nothing(what: object) -> None:
    before = reflected(*upto("image"))
    assert reflect(what, IMPORT, before, later(9)) is before


def test_unknown_phases_change_nothing() -> None:
    made = reflected(found(), node("poweroff", "Dreaming"), phase="Hovering")
    assert (made.import_status, made.step) == (ImportPhase.SOURCE_READY, "poweroff")


# --- the embedded runner


def test_the_record_of_the_embedded_runner_is_reflected() -> None:
    states: list[Json] = []
    record = Record.new(RUN, {}, lambda state: states.append(json.loads(json.dumps(state))))
    for name, disk in (
        ("preflight", None),
        ("poweroff", None),
        ("export", "disk-0"),
        ("convert", "disk-0"),
        ("image", "disk-0"),
        ("build", None),
    ):
        stage = stage_named(name)
        path = record.path(stage, disk, ["disk-0"])
        number = record.begin(path, stage, disk)
        record.progress(path, number, 5, 10)
        record.end(path, number, 0, "", {"disks": '["disk-0"]'} if name == "preflight" else {})
        record.end_stage(path)
    record.finish()
    status, phases, percents = None, [], []
    for state in states:
        status = reflect(state, IMPORT, status, NOW)
        phases.append(status.import_status)
        percents.append(status.percent)
    assert list(dict.fromkeys(phases)) == [
        *(ImportPhase.NEW, ImportPhase.VALID, ImportPhase.SOURCE_READY, ImportPhase.DISKS_EXPORTED),
        *(ImportPhase.IMAGES_SUBMITTED, ImportPhase.IMAGES_READY, ImportPhase.CREATED),
    ]
    assert percents == sorted(percents)
    assert percents[-1] == 100


# --- results of steps that read foreign data


def test_disks_are_those_of_admit_and_only_ids_count() -> None:
    """`preflight` reads foreign data, so its output may contain anything."""

    def listing(stage: str, disks: list[Any]) -> Json:
        outputs = {"exitCode": "0", "parameters": [{"name": "disks", "value": json.dumps(disks)}]}
        return node(stage, outputs=outputs)

    forged = ["disk-0", "disk-1\n", "../disk-2", "<b>", 7, None, "disk-12345"]
    status = reflected(listing("preflight", forged), listing("admit", ["disk-0", "disk-1"]))
    assert [row.id for row in status.disk_import_status] == ["disk-0", "disk-1"]
