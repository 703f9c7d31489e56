"""The provider over the fake: it finds, describes, shuts down, exports and releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steps.disk.land import Landed
from steps.model.contract import Exit, StepError, Stopped
from steps.model.machine import Machine, Power, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import connect
from steps.providers.ovirt import transfers
from steps.runtime.stop import Stop
from tests.unit.steps.providers.ovirt.conftest import MakeAccess
from tests.unit.steps.providers.ovirt.documents import DISKS, HOST, SIZE, VM, vm
from tests.unit.steps.providers.ovirt.fake import BLOCK, Fake, Reply, Transfer


def described(access: MakeAccess, name: str = "web", folder: str | None = None) -> Machine:
    with connect(access("preflight")) as source:
        return source.describe(name, folder)


def exported(access: MakeAccess, machine: Machine, out: Path, number: int = 0, **more: Any) -> Landed:
    with connect(access(f"export-disk-{number}", **more)) as source:
        return source.export(machine, machine.disks[number], out, DiskFormat.RAW, lambda _done, _total: None)


@pytest.fixture
def machine(fake: Fake, access: MakeAccess) -> Machine:
    fake.vms[0]["status"] = "down"
    return described(access)


def test_a_vm_is_found_by_name_and_by_id(fake: Fake, access: MakeAccess) -> None:
    fake.vms.append(vm(id="99999999-1111-1111-1111-111111111111", name="WEB"))
    assert described(access).source_id == VM
    assert described(access, VM).name == "web"


def test_vms_of_one_name_are_told_apart_by_their_clusters(fake: Fake, access: MakeAccess) -> None:
    other = vm(id="99999999-1111-1111-1111-111111111111", cluster={"id": "c-2"})
    fake.vms.append(other)
    fake.lists["clusters"].append({"id": "c-2", "name": "Second"})
    with pytest.raises(StepError) as caught:
        described(access)
    assert caught.value.code is Exit.AMBIGUOUS
    assert f"{VM} in cluster Default" in str(caught.value)
    for cluster in ("Second", "c-2"):
        assert described(access, folder=cluster).source_id == other["id"]
    with connect(access("preflight", plan={"cluster": "Default"})) as source:
        assert source.describe("web", None).source_id == VM


def test_an_unknown_vm_is_not_found(fake: Fake, access: MakeAccess) -> None:
    for name in ('no "such" *', "no-such", "12345678-1111-1111-1111-111111111111"):
        with pytest.raises(StepError) as caught:
            described(access, name)
        assert caught.value.code is Exit.NOT_FOUND


def test_an_unknown_cluster_of_the_source_is_not_found(fake: Fake, access: MakeAccess) -> None:
    with connect(access("verify", plan={"cluster": "None"})) as source, pytest.raises(StepError) as caught:
        source.verify()
    assert caught.value.code is Exit.NOT_FOUND
    assert "clusters: Default" in str(caught.value)


def test_the_inventory_has_all_pages(fake: Fake, access: MakeAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.providers.ovirt.engine.PAGE", 2)
    fake.vms = [
        vm(id=f"{number}1111111-1111-1111-1111-111111111111", name=f"vm-{number}") for number in range(5)
    ]
    fake.vms.append({"id": "broken", "name": "broken"})
    with connect(access("look")) as source:
        inventory = source.inventory()
    assert [one.name for one in inventory.machines] == [f"vm-{number}" for number in range(5)]
    assert (inventory.networks, inventory.folders) == (("red/fast",), ("Default",))


def test_the_inventory_has_the_tags_of_its_vms(fake: Fake, access: MakeAccess) -> None:
    fake.vms[0]["tags"] = {"tag": [{"id": "2", "name": "wave 1"}, {"id": "1", "name": "prod"}, {"id": "3"}]}
    with connect(access("look")) as source:
        (machine,) = source.inventory().machines
    assert machine.tags == (Tag(name="prod"), Tag(name="wave 1"))
    assert described(access).tags == ()


def test_a_name_with_a_wildcard_gets_a_hint(fake: Fake, access: MakeAccess) -> None:
    with pytest.raises(StepError, match="an import names one VM"):
        described(access, "we*")


def test_a_vm_is_shut_down_once(fake: Fake, access: MakeAccess) -> None:
    machine = described(access)
    assert machine.power is Power.ON
    for _ in range(2):
        with connect(access("poweroff")) as source:
            source.power_off(machine, PowerPlan())
    assert fake.actions() == ["/imagetransfers"] * 2 + [f"/vms/{VM}/shutdown"]
    assert described(access).power is Power.OFF


def test_a_vm_that_is_shutting_down_is_not_asked_again(fake: Fake, access: MakeAccess) -> None:
    machine = described(access)
    fake.vms[0]["status"] = "powering_down"
    with connect(access("poweroff")) as source:
        source.power_off(machine, PowerPlan())
    assert fake.actions() == []


@pytest.mark.parametrize(("force", "asked"), [(True, ["stop"]), (False, ["shutdown", "stop"])])
def test_a_guest_that_does_not_shut_down_is_stopped(
    fake: Fake, access: MakeAccess, monkeypatch: pytest.MonkeyPatch, force: bool, asked: list[str]
) -> None:
    fake.shutdown_polls = 10**6
    ticks = iter(range(10**6))
    monkeypatch.setattr("steps.providers.ovirt.power.CLOCK", lambda: float(next(ticks)))
    machine = described(access)
    with connect(access("poweroff")) as source:
        source.power_off(machine, PowerPlan(force=force, grace_seconds=30))
    assert [path.rpartition("/")[2] for path in fake.actions() if "/vms/" in path] == asked


def test_a_policy_can_forbid_to_stop_a_vm(
    fake: Fake, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for imports of `v2v.kubevirt.io`."""
    fake.shutdown_polls = 10**6
    ticks = iter(range(10**6))
    monkeypatch.setattr("steps.providers.ovirt.power.CLOCK", lambda: float(next(ticks)))
    machine = described(access)
    with connect(access("poweroff")) as source, pytest.raises(StepError) as caught:
        source.power_off(machine, PowerPlan(never_force=True, grace_seconds=30))
    assert (caught.value.code, caught.value.why) == (Exit.POWER, "the guest did not shut down within 30 s")
    assert [path.rpartition("/")[2] for path in fake.actions() if "/vms/" in path] == ["shutdown"]


def test_a_missing_permission_is_noticed_before_the_vm_is_stopped(fake: Fake, access: MakeAccess) -> None:
    machine = described(access)
    denied = b'{"fault": {"detail": "[User is not authorized to perform this action.]"}}'
    fake.hook = lambda method, path: (
        Reply(403, denied) if method == "POST" and "imagetransfers" in path else None
    )
    with connect(access("poweroff")) as source, pytest.raises(StepError) as caught:
        source.power_off(machine, PowerPlan())
    assert caught.value.code is Exit.DENIED
    assert "User is not authorized" in str(caught.value)
    assert fake.vms[0]["status"] == "up"


def test_disks_that_cannot_be_reached_are_noticed_before_the_vm_is_stopped(
    fake: Fake, access: MakeAccess
) -> None:
    machine = described(access)
    closed = {"image_daemon_port": 1, "image_proxy_port": 1}
    with connect(access("poweroff", plan=closed)) as source, pytest.raises(StepError) as caught:
        source.power_off(machine, PowerPlan())
    assert caught.value.code is Exit.UNREACHABLE
    assert "the image proxy localhost (port 1)" in str(caught.value)
    assert "the host localhost (port 1)" in str(caught.value)
    assert fake.vms[0]["status"] == "up"


def test_a_host_is_asked_for_if_only_that_can_be_reached(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    exported(access, machine, tmp_path / "out", plan={"image_proxy_port": 1})
    assert [one.host for one in fake.transfers.values()] == [HOST]


def test_only_the_data_of_a_disk_is_transferred(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    for number, disk in enumerate(DISKS):
        out = tmp_path / f"disk-{number}"
        landed = exported(access, machine, out, number)
        assert out.read_bytes() == fake.content[disk]
        assert landed.virtual_size == SIZE
    assert fake.sent == 2 * 4 * BLOCK
    assert [one.phase for one in fake.transfers.values()] == ["finished_success"] * 2
    assert fake.tokens == set()


def test_a_disk_without_data_is_empty(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    fake.content[DISKS[0]] = bytes(SIZE)
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == bytes(SIZE)
    assert fake.sent == 0


def test_a_disk_that_landed_is_not_read_again(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    exported(access, machine, tmp_path / "out")
    assert exported(access, machine, tmp_path / "out").source_bytes == 0
    assert len(fake.transfers) == 1


def test_the_transfer_of_an_attempt_that_was_killed_after_landing_is_ended(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    exported(access, machine, tmp_path / "out")
    left = Transfer("left", DISKS[0], str(transfers.idle_seconds("run-1")), "transferring")
    fake.transfers["left"] = left
    assert exported(access, machine, tmp_path / "out").source_bytes == 0
    assert fake.live() == []


def test_a_disk_is_read_again_after_its_vm_ran(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    exported(access, machine, tmp_path / "out")
    fake.vms[0]["stop_time"] = "2026-01-02T03:04:05.678+00:00"
    fake.content[DISKS[0]] = bytes(SIZE - 1) + b"x"
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == fake.content[DISKS[0]]


def test_a_running_vm_is_not_exported(fake: Fake, access: MakeAccess, tmp_path: Path) -> None:
    machine = described(access)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.POWER
    assert fake.transfers == {}


def test_a_broken_connection_is_resumed_within_the_transfer(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", (0.0, 0.0, 0.0))
    cuts = iter((1000, 5))
    real = fake.image

    def cut(ticket: str, kind: str, wanted: str) -> Reply:
        reply = real(ticket, kind, wanted)
        reply.cut = next(cuts, None) if reply.status == 206 else None
        return reply

    monkeypatch.setattr(fake, "image", cut)
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == fake.content[DISKS[0]]
    assert len(fake.transfers) == 1


def test_a_lost_ticket_is_retried_with_a_new_transfer(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.disk.pump.CHUNK", BLOCK)
    # One reader asks for a range after the other: of several, any could be the third.
    monkeypatch.setattr("steps.providers.ovirt.export.MOST_READERS", 1)
    ranges = 0
    real = fake.image

    def lose(ticket: str, kind: str, wanted: str) -> Reply:
        nonlocal ranges
        ranges += bool(wanted)
        if wanted and ranges == 3:
            fake.transfers[ticket].phase = "cancelled_system"
        return real(ticket, kind, wanted)

    monkeypatch.setattr(fake, "image", lose)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.BROKEN_STREAM
    assert fake.live() == []
    landed = exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == fake.content[DISKS[0]]
    assert landed.resumed_at > 0
    assert len(fake.transfers) == 2


def test_a_stop_cancels_the_transfer(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    stop = Stop()
    fake.hook = lambda method, path: stop.set() if path.endswith("/extents") else None
    with pytest.raises(Stopped):
        exported(access, machine, tmp_path / "out", stop=stop)
    assert fake.live() == []
    assert fake.tokens == set()


def test_only_transfers_of_the_run_are_released(fake: Fake, access: MakeAccess, machine: Machine) -> None:
    ours, others = transfers.idle_seconds("run-1"), transfers.idle_seconds("run-2")
    assert ours != others
    for number, (disk, idle) in enumerate(((DISKS[0], ours), (DISKS[1], others), ("unknown", ours))):
        fake.transfers[str(number)] = Transfer(str(number), disk, str(idle), "transferring")
    with connect(access("release-source", machine=machine)) as source:
        assert source.release() == []
    assert [one.id for one in fake.live()] == ["1", "2"]


def test_an_attempt_cancels_the_transfer_of_a_killed_one(
    fake: Fake, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    left = Transfer("left", DISKS[0], str(transfers.idle_seconds("run-1")), "transferring")
    fake.transfers["left"] = left
    exported(access, machine, tmp_path / "out")
    assert left.phase == "finished_failure"
    assert fake.live() == []


def test_without_the_right_to_list_transfers_nothing_is_released(
    fake: Fake, access: MakeAccess, machine: Machine
) -> None:
    fake.is_admin = False
    with connect(access("release-source", machine=machine)) as source:
        assert source.release() == []


def test_a_vm_with_a_locked_disk_is_tried_again(fake: Fake, access: MakeAccess) -> None:
    fake.vms[0]["disk_attachments"]["disk_attachment"][0]["disk"]["status"] = "locked"
    with pytest.raises(StepError) as caught:
        described(access)
    assert caught.value.code is Exit.BUSY
    assert "data" in str(caught.value)


def test_networks_have_the_names_of_the_v2v_mappings(fake: Fake, access: MakeAccess) -> None:
    with connect(access("preflight")) as source:
        assert source.networks() == {"red/fast", "profile-1"}


def test_a_tag_has_no_category(fake: Fake, access: MakeAccess, machine: Machine) -> None:
    with connect(access("preflight")) as source:
        assert source.tags(machine) == ()
        fake.tags = ["backup", "gold"]
        assert source.tags(machine) == (Tag(name="backup"), Tag(name="gold"))
