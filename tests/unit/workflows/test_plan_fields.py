"""The additional fields of an import in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.plan import (
    Adapt,
    Bus,
    CpuTopology,
    DiskFormat,
    DiskRule,
    Gate,
    GuestPlan,
    Plan,
    TargetKind,
    WhenNotAdaptable,
)
from tests.unit.builders import a_source, an_import
from workflows.plan import Invalid, plan
from workflows.quantity import mebibytes
from workflows.settings import Settings, WantedWay


def planned(**spec: Any) -> Plan:
    return plan(an_import(**spec), a_source(), Settings())


def test_without_the_fields_the_plan_follows_the_source() -> None:
    made = planned()
    assert (made.target.vcpus, made.target.memory_mib, made.target.disks) == (None, None, ())
    assert made.approvals == ()


def test_cpu_memory_disks_and_approvals_reach_the_plan() -> None:
    rows = [
        {"sourceDisk": "disk-0", "storageClass": "fast", "busType": "sata"},
        {"sourceDisk": "Hard disk 2"},
    ]
    made = planned(cpus=4, memory="1.5Gi", diskMapping=rows, approvals=["poweroff", "start"])
    assert (made.target.vcpus, made.target.memory_mib) == (4, 1536)
    assert made.target.disks == (
        DiskRule(disk="disk-0", storage_class="fast", bus=Bus.SATA),
        DiskRule(disk="Hard disk 2"),
    )
    assert made.approvals == (Gate.POWEROFF, Gate.START)


def test_kubevirt_gets_qcow2_and_the_sockets_of_the_source_whatever_is_set() -> None:
    settings = Settings(
        target=TargetKind.KUBEVIRT, format=DiskFormat.RAW, cpu_topology=CpuTopology.ONE_SOCKET
    )
    made = plan(an_import(target="kubevirt"), a_source(), settings)
    assert made.target.kind is TargetKind.KUBEVIRT
    assert (made.target.format, made.target.cpu_topology) == (DiskFormat.QCOW2, CpuTopology.SOURCE)


def test_null_means_the_default() -> None:
    made = planned(cpus=None, memory=None, diskMapping=None, approvals=None)
    assert made == planned()


def test_all_reasons_are_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        planned(cpus=0, memory="4 GB", diskMapping=[{"sourceDisk": "disk-0", "busType": "ide"}, {}])
    assert [reason.partition(":")[0] for reason in caught.value.reasons] == [
        "spec.diskMapping",
        "a row of spec.diskMapping has no sourceDisk",
        "spec.cpus is 0",
        "spec.memory '4 GB' is not a whole number of MiB",
    ]


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("8Gi", 8192),
        ("512Mi", 512),
        ("1.5Gi", 1536),
        ("1048576", 1),
        ("1048576k", 1000),
        ("1024Ki", 1),
        ("1Ti", 1 << 20),
        ("0.5Mi", None),
        ("1000", None),
        ("4G", None),
        ("0Gi", None),
        ("-1Gi", None),
        ("4 Gi", None),
        ("4gb", None),
        ("", None),
    ],
)
def test_quantity_in_mebibytes(text: str, mib: int | None) -> None:
    assert mebibytes(text) == mib


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"diskMapping": [{"sourceDisk": "disk-0"}, {"sourceDisk": "disk-0", "busType": "scsi"}]},
            "spec.diskMapping has 2 rows for the disk 'disk-0'; keep one row",
        ),
        ({"approvals": ["start", "start"]}, "spec.approvals names start 2 times; write it once"),
        (
            {"networkMapping": [{"sourceNetwork": "a", "type": "ignored", "mac": "new"}]},
            "mac has no effect; remove it",
        ),
    ],
)
def test_a_duplicate_or_a_field_without_effect_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        planned(**spec)
    assert words in str(caught.value)


def test_a_local_import_may_ask_for_an_inspection() -> None:
    made = plan(an_import(guest={"inspect": True}), a_source(), Settings(mounts_claims=False))
    assert made.guest.inspect
    assert '"guest"' in made.to_json()


def locally(**guest: Any) -> Plan:
    settings = Settings(mounts_claims=False, virtio_win="/opt/virtio-win")
    return plan(an_import(guest=guest), a_source(), settings)


def test_a_local_import_may_ask_for_an_adaptation() -> None:
    made = locally(adapt="auto", root="/dev/vg0/root", keys={"name": "k"}, firstBoot={"name": "s"})
    assert made.guest == GuestPlan(
        inspect=True,
        adapt=Adapt.AUTO,
        root="/dev/vg0/root",
        when_not_adaptable=WhenNotAdaptable.CONTINUE,
        has_keys=True,
        has_scripts=True,
        virtio_win="/opt/virtio-win",
    )
    assert made.guest.stages == ("inspect", "adapt")


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        ({"adapt": "always"}, WhenNotAdaptable.FAIL),
        ({"adapt": "auto"}, WhenNotAdaptable.CONTINUE),
        ({"adapt": "always", "whenNotAdaptable": "continue"}, WhenNotAdaptable.CONTINUE),
        ({"adapt": "auto", "whenNotAdaptable": "fail"}, WhenNotAdaptable.FAIL),
    ],
)
def test_a_guest_that_cannot_be_adapted(guest: dict[str, Any], expected: WhenNotAdaptable) -> None:
    assert locally(**guest).guest.when_not_adaptable is expected


@pytest.mark.parametrize(
    ("guest", "words"),
    [
        ({"adapt": "auto", "inspect": False}, "spec.guest.inspect is false, but spec.guest.adapt is auto"),
        ({"agent": "none"}, "spec.guest.agent has no effect without spec.guest.adapt"),
        ({"firstBoot": {"name": "a"}}, "spec.guest.firstBoot has no effect"),
        ({"whenNotAdaptable": "fail", "adapt": "never"}, "spec.guest.whenNotAdaptable has no effect"),
        ({"root": "/dev/sda1"}, "spec.guest.root has no effect without spec.guest.inspect or adapt"),
        ({"adapt": "auto", "root": "sda1"}, "spec.guest.root 'sda1' is not a device"),
        ({"adapt": "auto", "root": "/dev/sda1; rm -rf /"}, "is not a device"),
        ({"adapt": "auto", "keys": {}}, "spec.guest.keys.name is empty"),
        ({"adapt": "auto", "keys": {"name": "A_b"}}, "spec.guest.keys.name"),
    ],
)
def test_what_makes_no_sense_about_the_guest_is_refused(guest: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        locally(**guest)
    assert any(words in reason for reason in caught.value.reasons)


def test_a_cluster_refuses_an_adaptation_and_says_what_to_do() -> None:
    with pytest.raises(Invalid) as caught:
        planned(guest={"adapt": "auto"})
    (reason,) = caught.value.reasons
    assert reason.startswith("spec.guest.adapt is auto, but in a cluster vmferry cannot adapt guests yet")
    assert "vmferry run" in reason


@pytest.mark.parametrize("guest", [None, {}, {"inspect": None}, {"inspect": False}, {"adapt": "never"}])
def test_without_the_wish_the_request_is_the_same_as_ever(guest: Any) -> None:
    made = planned(guest=guest)
    assert made == planned()
    assert "guest" not in made.to_json()


def in_cluster(way: WantedWay = WantedWay.PULL, **settings: Any) -> Settings:
    return Settings(target=TargetKind.KUBEVIRT, disks=way, release="vmferry", **settings)


def test_an_import_in_a_cluster_may_ask_for_an_inspection() -> None:
    made = planned(guest={"inspect": True})
    assert made.guest == GuestPlan(inspect=True)
    assert made.guest.stages == ("inspect",)


def test_an_installation_without_the_image_refuses_it_and_says_what_to_do() -> None:
    with pytest.raises(Invalid) as caught:
        plan(an_import(guest={"inspect": True}), a_source(), in_cluster(guest=False))
    (reason,) = caught.value.reasons
    assert "guest.enabled" in reason


def test_disks_that_land_are_inspected_unless_the_import_says_no() -> None:
    made = plan(an_import(), a_source(), in_cluster(WantedWay.LAND))
    assert (made.guest.inspect, made.guest.optional) == (True, True)
    assert "spec.guest.inspect" in made.guest.why
    made = plan(an_import(guest={"inspect": False}), a_source(), in_cluster(WantedWay.LAND))
    assert made.guest == GuestPlan()


def test_a_root_counts_also_where_an_inspection_is_the_default() -> None:
    made = plan(an_import(guest={"root": "/dev/sda2"}), a_source(), in_cluster(WantedWay.LAND))
    assert (made.guest.inspect, made.guest.optional, made.guest.root) == (True, True, "/dev/sda2")


@pytest.mark.parametrize(
    ("guest", "settings", "words"),
    [
        ({"root": "/dev/sda2"}, in_cluster(), "has no effect without spec.guest.inspect or adapt"),
        (
            {"root": "/dev/sda2", "inspect": False},
            in_cluster(WantedWay.LAND),
            "has no effect without spec.guest.inspect or adapt",
        ),
        ({"root": "/dev/sda2"}, in_cluster(WantedWay.LAND, guest=False), "guest.enabled"),
    ],
)
def test_a_root_without_an_inspection_is_refused(guest: Any, settings: Settings, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        plan(an_import(guest=guest), a_source(), settings)
    (reason,) = caught.value.reasons
    assert reason.startswith("spec.guest.root ")
    assert words in reason
    made = plan(an_import(guest={"inspect": True}), a_source(), in_cluster(WantedWay.LAND))
    assert made.guest == GuestPlan(inspect=True), "who asks for it wants to know if it fails"


def test_other_disks_are_not_inspected_by_default() -> None:
    assert plan(an_import(), a_source(), in_cluster()).guest == GuestPlan()
    assert plan(an_import(), a_source(), Settings(target=TargetKind.HARVESTER)).guest == GuestPlan()


def test_without_the_image_landed_disks_are_not_inspected_and_the_plan_says_so() -> None:
    made = plan(an_import(), a_source(), in_cluster(WantedWay.LAND, guest=False))
    assert not made.guest.inspect
    assert made.guest.stages == ()
    assert "guest.enabled" in made.guest.why


def test_volumes_in_the_namespace_of_vmferry_are_not_inspected() -> None:
    """They have their final names, which are no function of the run."""
    settings = in_cluster(WantedWay.LAND)
    made = plan(an_import(namespace="vmferry"), a_source(), settings)
    assert not made.guest.inspect
    assert "namespace of vmferry" in made.guest.why
    with pytest.raises(Invalid) as caught:
        plan(an_import(namespace="vmferry", guest={"inspect": True}), a_source(), settings)
    assert "another namespace" in str(caught.value)
    assert plan(
        an_import(namespace="vmferry", guest={"inspect": True}), a_source(), in_cluster()
    ).guest.inspect
