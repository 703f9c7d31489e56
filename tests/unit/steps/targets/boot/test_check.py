"""The boot check of a VM: judged from outside, changed to SATA once, and stopped if that does not help."""

from __future__ import annotations

import pytest

from steps.check import not_booted
from steps.model.booting import Verdict
from steps.model.contract import LAST_WORDS_LIMIT, Exit, StepError, Stopped
from steps.model.kinds import INSTANCE, MACHINE, POD, Kind, Object
from steps.targets.cluster import markers
from steps.targets.cluster.boot.check import FAILED, FAILED_ON_SATA, FALLING_BACK, ON_SATA
from steps.targets.cluster.boot.evidence import SCREENSHOT
from steps.targets.cluster.halting import halt
from steps.targets.kubevirt import KINDS
from tests.unit.steps.targets.boot.guests import (
    ALERT,
    BOOTS,
    IN_SHELL,
    LOGIN,
    PNG,
    SILENT,
    STUCK,
    WITH_AGENT,
    Behaviour,
)
from tests.unit.steps.targets.boot.place import VM, Place
from tests.unit.steps.targets.harvester.fake_cluster import POD_LOG

MARK = markers.BOOT_CHECK
AS_BUILT = ({"virtio"}, {"virtio"})
SATA = ({"sata"}, {"e1000e"})


def test_a_guest_that_boots_is_handed_over() -> None:
    place = Place({"virtio": BOOTS})
    place.start()
    assert "VirtualMachineImport" in place.owners(), "the import owns it until the guest has booted"
    result = place.check()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, False)
    assert "VirtualMachineImport" not in place.owners()
    assert place.guests.starts == [(VM, "virtio")]
    assert place.devices() == AS_BUILT
    assert place.annotation(MARK) is None
    assert result.evidence.written_bytes == 2_000_000
    assert result.evidence.addresses == ("192.0.2.10",), "the agent may say anything"
    assert place.kept.found["built"][1] == PNG


def test_without_a_boot_check_start_hands_the_vm_over() -> None:
    place = Place({"virtio": BOOTS})
    place.world.plan = place.world.plan.model_copy(update={"boot_check": None})
    place.start()
    assert "VirtualMachineImport" not in place.owners()
    assert place.cluster.all(INSTANCE, "default")[0]["metadata"]["uid"] == "instance-0"


def test_the_agent_ends_the_check_early() -> None:
    place = Place({"virtio": WITH_AGENT})
    result = place.started_and_checked()
    assert result.verdict is Verdict.BOOTED
    assert result.evidence.agent
    assert place.time.now < 60


def test_a_silent_guest_runs_and_is_reported() -> None:
    place = Place({"virtio": SILENT})
    result = place.started_and_checked()
    assert result.verdict is Verdict.SILENT
    assert "VirtualMachineImport" not in place.owners()


@pytest.mark.parametrize("stuck", [STUCK, IN_SHELL], ids=["by counters", "by console"])
def test_a_stuck_guest_gets_sata_once_and_boots(stuck: Behaviour) -> None:
    place = Place({"virtio": stuck, "sata": BOOTS}, disks=2)
    place.start()
    uid = place.vm["metadata"]["uid"]
    result = place.check()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, True)
    assert place.guests.starts == [(VM, "virtio"), (VM, "sata")]
    assert place.devices() == SATA
    assert place.vm["metadata"]["uid"] == uid, "it is never deleted: it may own its disks"
    assert place.annotation(MARK) == ON_SATA
    assert "VirtualMachineImport" not in place.owners()
    assert set(place.kept.found) == {"built", "sata"}
    assert [one["bootOrder"] for one in devices(place)["disks"]] == [1, 2], "only the bus changes"


def test_a_guest_that_boots_on_neither_is_stopped_and_fails_the_import() -> None:
    place = Place({"virtio": IN_SHELL, "sata": IN_SHELL})
    result = place.started_and_checked()
    assert (result.verdict, result.fell_back) == (Verdict.STUCK, True)
    assert place.vm["spec"]["runStrategy"] == "Halted"
    assert place.cluster.all(INSTANCE, "default") == []
    assert place.annotation(MARK) == FAILED_ON_SATA
    assert place.annotation(markers.HANDED_OVER) is None
    assert "VirtualMachineImport" in place.owners()
    assert [name for name, _ in place.guests.starts] == [VM, VM]
    error = not_booted(place.world.shape, result)
    assert error.code is Exit.UNSUPPORTED
    assert "(initramfs)" in str(error)
    assert "ConfigMap vmferry/run-boot" in str(error)
    assert place.kept.found["sata"][0].endswith("(initramfs) ")


def test_without_a_fall_back_the_vm_keeps_its_devices() -> None:
    place = Place({"virtio": IN_SHELL}, fall_back=False)
    result = place.started_and_checked()
    assert (result.verdict, result.fell_back) == (Verdict.STUCK, False)
    assert place.devices() == AS_BUILT
    assert place.annotation(MARK) == FAILED
    assert place.guests.starts == [(VM, "virtio")]


def test_a_vm_that_has_sata_already_is_not_started_twice() -> None:
    place = Place({"sata": IN_SHELL})
    disks = devices(place)["disks"]
    disks[0]["disk"]["bus"] = "sata"
    for interface in devices(place)["interfaces"]:
        interface["model"] = "e1000e"
    result = place.started_and_checked()
    assert result.verdict is Verdict.STUCK
    assert place.guests.starts == [(VM, "sata")]


def test_a_bus_that_an_inspection_has_chosen_falls_back_too() -> None:
    """`check` does not know why `build` chose a bus: the mark of the start has a digest of the devices."""
    place = Place({"scsi": IN_SHELL, "sata": BOOTS})
    devices(place)["disks"][0]["disk"]["bus"] = "scsi"
    result = place.started_and_checked()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, True)
    assert place.guests.starts == [(VM, "scsi"), (VM, "sata")]


def test_a_guest_that_nothing_is_known_of_has_not_failed() -> None:
    place = Place({"virtio": BOOTS}, timeout_seconds=120)
    place.guests.visible = False
    place.cluster.denied.add(("get", POD_LOG))
    result = place.started_and_checked()
    assert result.verdict is Verdict.UNKNOWN
    assert place.vm["spec"]["runStrategy"] == "RerunOnFailure"
    assert "VirtualMachineImport" not in place.owners()
    missing = " ".join(result.evidence.missing)
    assert "counters: " in missing
    assert "console: " in missing
    assert place.guests.starts == [(VM, "virtio")]


# --- evidence that is missing, or hostile


def test_an_absent_screen_is_no_failure() -> None:
    place = Place({"virtio": BOOTS})
    place.start()
    place.guests.before_look.append(place.cluster.contents.clear)
    result = place.check()
    assert result.verdict is Verdict.BOOTED
    assert place.kept.found["built"][1] == b""
    assert any(line.startswith("screenshot: ") for line in result.evidence.missing)


@pytest.mark.parametrize("picture", [b"GIF89a", PNG + b"x" * (1 << 20)], ids=["no PNG", "huge"])
def test_only_a_small_picture_is_kept(picture: bytes) -> None:
    place = Place({"virtio": BOOTS})
    place.start()
    place.guests.before_look.append(
        lambda: place.cluster.contents.update({("default", VM, SCREENSHOT): picture})
    )
    result = place.check()
    assert result.verdict is Verdict.BOOTED
    assert place.kept.found["built"][1] == b""


def test_a_guest_that_floods_its_console_does_not_fill_the_error() -> None:
    flood = "\x1b[2J" + "A" * 300_000 + "\x07\u202e" + "Kernel panic - not syncing\n"
    place = Place({"virtio": Behaviour(read=20e6, written=0, sent=0, console=flood)}, fall_back=False)
    result = place.started_and_checked()
    assert result.verdict is Verdict.STUCK
    words = str(not_booted(place.world.shape, result))
    assert len(words.encode()) < LAST_WORDS_LIMIT
    assert words.isprintable()
    assert len(result.to_json()) < 8000
    assert len(place.kept.found["built"][0]) <= 40_000


def test_a_keeper_that_fails_does_not_fail_the_check() -> None:
    place = Place({"virtio": BOOTS})
    place.start()

    def fail(name: str, console: str, picture: bytes) -> str:
        raise StepError(Exit.NO_SPACE, "cannot create ConfigMap", "the quota is used up")

    place.kept.keep = fail  # type: ignore[method-assign]
    result = place.check()
    assert (result.verdict, result.kept_in) == (Verdict.BOOTED, "")


def test_a_port_that_answers_is_evidence() -> None:
    place = Place({"virtio": SILENT}, tcp_port=22)
    asked: list[tuple[str, int]] = []

    def connects(address: str, port: int) -> bool:
        asked.append((address, port))
        return place.time.now > 30

    place.connects = connects
    result = place.started_and_checked()
    assert result.verdict is Verdict.BOOTED
    assert result.evidence.port_open
    assert set(asked) == {("10.52.0.9", 22)}, "the pod's own address, not what the agent reports"


def test_a_port_at_an_address_of_the_import() -> None:
    place = Place({"virtio": BOOTS}, tcp_port=22, address="192.0.2.77", timeout_seconds=90)
    asked: set[str] = set()

    def connects(address: str, _port: int) -> bool:
        asked.add(address)
        return False

    place.connects = connects
    result = place.started_and_checked()
    assert result.verdict is Verdict.SILENT
    assert asked == {"192.0.2.77"}


def test_a_login_prompt_after_a_reboot_in_the_guest() -> None:
    place = Place({"virtio": Behaviour(sent=0, written=0, console=ALERT + "\nLinux version 6.1.0\n" + LOGIN)})
    assert place.started_and_checked().verdict is Verdict.SILENT


# --- people


def test_a_vm_that_somebody_deleted_fails_the_import() -> None:
    place = Place({"virtio": STUCK})
    place.start()
    place.guests.before_look.append(lambda: place.cluster.drop(MACHINE, VM, "default"))
    with pytest.raises(StepError, match="does not exist") as caught:
        place.check()
    assert caught.value.code is Exit.INVALID


def test_a_vm_that_somebody_stopped_is_left_alone() -> None:
    place = Place({"virtio": STUCK})
    place.start()

    def stop() -> None:
        place.vm["spec"]["runStrategy"] = "Halted"

    place.guests.before_look.append(stop)
    result = place.check()
    assert result.verdict is Verdict.UNKNOWN
    assert "somebody" in result.message
    assert place.vm["spec"]["runStrategy"] == "Halted"
    assert place.annotation(MARK) is None
    assert "VirtualMachineImport" not in place.owners()


def test_a_vm_that_somebody_changed_gets_no_sata() -> None:
    place = Place({"virtio": IN_SHELL, "scsi": IN_SHELL, "sata": BOOTS})
    place.start()

    def change() -> None:
        devices(place)["disks"][0]["disk"]["bus"] = "scsi"

    place.guests.before_look.append(change)
    result = place.check()
    assert result.verdict is Verdict.STUCK
    assert place.devices()[0] == {"scsi"}
    assert place.vm["spec"]["runStrategy"] == "Halted"
    assert place.annotation(MARK) == FAILED


def test_what_somebody_added_to_the_vm_stays() -> None:
    place = Place({"virtio": IN_SHELL, "sata": BOOTS})
    place.start()
    more = {"name": "cd", "cdrom": {"bus": "sata"}}
    sriov = {"name": "fast", "sriov": {}}
    devices(place)["disks"].append(more)
    devices(place)["interfaces"].append(sriov)
    place.cluster.put(place.vm)
    result = place.check()
    assert result.fell_back
    assert devices(place)["disks"][-1] == more
    assert devices(place)["interfaces"][-1] == sriov


def test_writes_of_others_between_read_and_write_are_not_lost() -> None:
    place = Place({"virtio": IN_SHELL, "sata": BOOTS})
    place.start()
    conflicts: list[str] = []
    patch = place.cluster.patch

    def patched(kind: Kind, name: str, change: Object, namespace: str = "") -> Object | None:
        if kind == MACHINE and not conflicts:
            conflicts.append(name)
            patch(MACHINE, name, {"metadata": {"labels": {"theirs": "yes"}}}, namespace)
        return patch(kind, name, change, namespace)

    place.cluster.patch = patched  # type: ignore[method-assign]
    result = place.check()
    assert result.fell_back
    assert conflicts
    assert place.vm["metadata"]["labels"]["theirs"] == "yes"


def test_a_vm_that_is_started_by_hand_while_it_falls_back_is_theirs() -> None:
    place = Place({"virtio": IN_SHELL, "sata": BOOTS})
    place.start()
    place.vm["metadata"]["annotations"][MARK] = (
        FALLING_BACK  # killed after the first request of the fall-back
    )
    place.guests.behaviours = {"virtio": BOOTS}
    result = place.check()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, False)
    assert place.annotation(MARK) is None


def test_a_crashing_vm_is_watched_from_its_new_start() -> None:
    place = Place({"virtio": BOOTS})
    place.start()
    crashes = iter([True, True])

    def crash() -> None:
        if place.time.now > 20 and next(crashes, False):
            place.guests.restart(VM)

    place.guests.before_look.append(crash)
    result = place.check()
    assert result.verdict is Verdict.BOOTED
    assert len(place.guests.starts) == 3


# --- another try


def test_a_retry_starts_the_stopped_vm_and_checks_it_again() -> None:
    place = Place({"virtio": IN_SHELL, "sata": IN_SHELL})
    place.started_and_checked()
    place.guests.behaviours = {"sata": BOOTS}  # somebody has repaired the guest's disk
    result = place.check()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, True)
    assert place.annotation(markers.HANDED_OVER) == "started"
    assert "VirtualMachineImport" not in place.owners()


def test_a_new_workflow_builds_the_vm_as_the_request_says() -> None:
    place = Place({"virtio": IN_SHELL, "sata": IN_SHELL})
    place.started_and_checked()
    place.guests.behaviours = {"virtio": BOOTS}
    place.world.build()
    assert place.devices() == AS_BUILT
    assert place.annotation(MARK) is None
    result = place.started_and_checked()
    assert (result.verdict, result.fell_back) == (Verdict.BOOTED, False)


@pytest.mark.parametrize("checked_again", [True, False], ids=["with a check", "without one"])
def test_a_new_workflow_after_a_kill_in_the_fall_back_builds_and_starts_the_vm(
    *, checked_again: bool
) -> None:
    place = Place({"virtio": IN_SHELL, "sata": BOOTS})
    place.start()
    place.vm["metadata"]["annotations"][MARK] = FALLING_BACK
    place.vm["spec"]["runStrategy"] = "Halted"
    if not checked_again:
        place.world.plan = place.world.plan.model_copy(update={"boot_check": None})
    place.world.build()
    assert place.annotation(MARK) is None
    place.start()
    assert place.vm["spec"]["runStrategy"] == "RerunOnFailure"
    if checked_again:
        assert place.check().fell_back


def test_a_stale_vm_is_not_checked() -> None:
    place = Place({"virtio": IN_SHELL, "sata": IN_SHELL})
    place.started_and_checked()
    halt(place.world.plan, place.cluster, place.time, KINDS, clock=place.time.clock)
    with pytest.raises(StepError) as caught:
        place.check()
    assert caught.value.code is Exit.STALE


def test_a_stop_of_the_step_leaves_the_vm_as_it_is() -> None:
    place = Place({"virtio": STUCK})
    place.start()
    place.guests.before_look.append(lambda: place.time.set() if place.time.now > 60 else None)
    with pytest.raises(Stopped):
        place.check()
    assert place.vm["spec"]["runStrategy"] == "RerunOnFailure"
    assert (place.annotation(MARK) or "").startswith(markers.BUILT)
    assert "VirtualMachineImport" in place.owners()


def test_a_vm_that_does_not_stop_fails_the_import_all_the_same() -> None:
    place = Place({"virtio": IN_SHELL}, fall_back=False)
    place.guests.stop_seconds = 10_000
    result = place.started_and_checked()
    assert result.verdict is Verdict.STUCK
    assert "the VM does not stop" in result.message
    assert place.annotation(MARK) == FAILED


def test_a_vm_has_its_grace_period_to_stop() -> None:
    """KubeVirt's preferences give Windows an hour."""
    place = Place({"virtio": IN_SHELL, "sata": BOOTS})
    place.guests.grace, place.guests.stop_seconds = 1000, 1000
    assert place.started_and_checked().fell_back


def test_the_requests_need_only_the_rights_of_the_identity() -> None:
    place = Place({"virtio": IN_SHELL, "sata": BOOTS})
    place.start()
    before = len(place.cluster.calls)
    place.check()
    used = {(call.verb, call.kind.resource) for call in place.cluster.calls[before:]}
    assert used <= {
        ("get", "virtualmachines.kubevirt.io"),
        ("patch", "virtualmachines.kubevirt.io"),
        ("get", "virtualmachineinstances.kubevirt.io"),
        ("list", "pods"),
        ("get", "pods/log"),
        ("get", "virtualmachineinstances/vnc.subresources.kubevirt.io"),
        ("list", "datavolumes.cdi.kubevirt.io"),
        ("get", "datavolumes.cdi.kubevirt.io"),
        ("patch", "datavolumes.cdi.kubevirt.io"),
    }
    assert ("list", POD.resource) in used


def devices(place: Place) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = place.vm["spec"]["template"]["spec"]["domain"]["devices"]
    return found
