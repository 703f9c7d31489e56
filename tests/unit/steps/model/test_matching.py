"""Which row counts: every kind of match, and the rows of an import before those of a shared mapping."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.machine import Disk, Nic, Severity
from steps.model.mapping import check_disks, check_shared, map_disks
from steps.model.matching import (
    disk_rule,
    network_rules,
    resolutions,
    rule_of_nic,
    storage_choice,
    unused_rows,
)
from steps.model.networks import check_cards, check_mapped, check_networks, map_interfaces
from steps.model.plan import (
    Attachment,
    Bus,
    DiskRule,
    NetworkPolicy,
    NetworkRule,
    StorageRule,
    TargetPlan,
    UsedMapping,
)
from tests.unit.builders import a_disk, a_machine, a_nic, a_target

USED: Final = UsedMapping(namespace="infra", name="dc1", generation=3)
NIC: Final = a_nic(network="VM Network", network_id="network-7", vlan=12, label="Network adapter 1")
MAC: Final = str(NIC.mac)


def into(*networks: NetworkRule, **more: Any) -> TargetPlan:
    return a_target(mapping=USED, networks=networks, **more)


def own(source: str, destination: str = "ns/own") -> NetworkRule:
    return NetworkRule(source=source, destination=destination)


def shared(destination: str = "ns/shared", **of: Any) -> NetworkRule:
    return NetworkRule(**{"source": "", "destination": destination, "shared": True, **of})


BY_MAC, BY_ID = shared("ns/mac", nic_mac=MAC), shared("ns/id", source_id="network-7")
BY_NAME, BY_PATH = shared("ns/name", source="VM Network"), shared("ns/path", source="DC0/VM Network")
BY_VLAN = shared("ns/vlan", vlan=12)
BY_RANK: Final = (BY_MAC, BY_ID, BY_NAME, BY_PATH, BY_VLAN)
"""The rows that fit `NIC`, from the strongest to the weakest."""
OTHERS: Final = (
    shared("ns/x", nic_mac="00:50:56:ff:ff:ff"),
    shared("ns/x", source_id="network-8"),
    shared("ns/x", source_id="VM Network"),
    shared("ns/x", source="network-7"),
    shared("ns/x", source="vm network"),
    shared("ns/x", source="VM Network/"),
    shared("ns/x", source="Network adapter 1"),
    shared("ns/x", vlan=13),
)
"""Rows that fit no NIC of the VM."""


@pytest.mark.parametrize("rule", BY_RANK)
def test_a_row_fits_by_each_of_its_fields(rule: NetworkRule) -> None:
    assert network_rules(NIC, [*OTHERS, rule]) == [rule]


@pytest.mark.parametrize("rule", OTHERS)
def test_what_differs_does_not_fit(rule: NetworkRule) -> None:
    assert network_rules(NIC, [rule]) == []


@given(st.permutations(range(len(BY_RANK))), st.integers(0, len(BY_RANK) - 1))
def test_the_strongest_match_counts_in_any_order_of_the_rows(order: list[int], strongest: int) -> None:
    rows = [BY_RANK[number] for number in order if number >= strongest]
    assert network_rules(NIC, rows) == [BY_RANK[strongest]]


@pytest.mark.parametrize("row", ["network-7", "VM Network", "DC0/network/VM Network"])
@pytest.mark.parametrize("other", BY_RANK)
def test_each_row_of_the_import_has_precedence_over_each_shared_one(row: str, other: NetworkRule) -> None:
    assert rule_of_nic(NIC, into(other, own(row))) == own(row)


def test_a_shared_row_counts_where_the_import_has_none() -> None:
    target = into(own("DMZ"), BY_VLAN)
    assert rule_of_nic(NIC, target) == BY_VLAN
    assert rule_of_nic(a_nic(network="DMZ", vlan=12), target) == own("DMZ")
    assert rule_of_nic(a_nic(network="other"), target) is None


NAMELESS: Final = Nic(id="nic-0")


@pytest.mark.parametrize("rule", [*BY_RANK, *OTHERS, shared(source="a/")])
def test_a_nic_of_which_nothing_is_known_fits_no_row(rule: NetworkRule) -> None:
    assert network_rules(NAMELESS, [rule]) == []


def test_two_rows_that_match_equally_well_are_refused_with_the_name_of_the_mapping() -> None:
    rules = (shared("ns/a", source="DC0/VM Network"), shared("ns/b", source="DC1/VM Network"))
    (concern,) = check_cards(into(*rules), [NIC])
    assert (concern.severity, concern.code) == (Severity.BLOCK, "network-ambiguous")
    assert "networkMapping or ImportMapping infra/dc1 has 2 different rows for 'nic-0'" in str(concern)


# --- what NICs become


def test_the_pod_network_is_for_the_nic_that_has_a_row_for_it() -> None:
    target = into(shared(source="B", destination="", attachment=Attachment.POD))
    nics = (a_nic(0, network="A"), a_nic(1, network="B"))
    interfaces, concerns = map_interfaces(nics, target)
    assert [(one.nic, one.network) for one in interfaces] == [("nic-1", "")]
    (concern,) = concerns
    assert concern.code == "network-left-out"
    assert str(concern).endswith("map its network in networkMapping or ImportMapping infra/dc1 to keep it")


def test_several_nics_for_the_pod_network_are_refused() -> None:
    target = into(shared(vlan=12, destination="", attachment=Attachment.POD))
    (concern,) = check_mapped(target, (NIC, a_nic(1, network="B", vlan=12)))
    assert (concern.severity, concern.code) == (Severity.BLOCK, "network.pod.multiple")
    assert str(concern).endswith("VM Network, B; keep one of them, and map the others or ignore them")


def test_an_ignored_nic_is_left_out_and_the_mapping_is_named() -> None:
    target = into(shared(vlan=12, destination="", attachment=Attachment.IGNORED))
    interfaces, concerns = map_interfaces((NIC,), target)
    assert (interfaces, [one.severity for one in concerns]) == ((), [Severity.LOG])
    assert "as ImportMapping infra/dc1 says" in str(concerns[0])


def test_an_unmapped_nic_names_both_places() -> None:
    _, (concern,) = map_interfaces((NIC,), into())
    assert "is not in networkMapping or ImportMapping infra/dc1" in str(concern)


def test_names_that_the_source_does_not_have_are_one_warning_even_if_strict() -> None:
    rows = (BY_NAME, shared(source="DMZ"), shared(source="Prod\n"), shared(source_id="network-9"), BY_VLAN)
    target = into(*rows, network_policy=NetworkPolicy.STRICT)
    (concern,) = check_networks(target, [NIC], frozenset({"VM Network"}))
    assert (concern.severity, concern.code) == (Severity.WARN, "network-unknown")
    assert str(concern) == (
        "ImportMapping infra/dc1 names networks that the source does not have: 'DMZ', 'Prod\\n'; the source "
        "has: VM Network"
    )
    (own_concern,) = check_networks(into(own("DMZ"), network_policy=NetworkPolicy.STRICT), [NIC], frozenset())
    assert own_concern.severity is Severity.BLOCK


def test_a_long_list_of_unknown_names_is_counted() -> None:
    rows = (shared(source=f"net-{number}") for number in range(200))
    (concern,) = check_networks(into(*rows), [NIC], frozenset({"VM Network"}))
    assert "'net-9' and 190 more" in concern.message


# --- storage and disks

DISK: Final = a_disk(0, key="2000", label="Hard disk 1", uuid="6000c29", storage="ssd", storage_id="ds-5")
SSD, BY_STORAGE_ID = (
    StorageRule(source="ssd", storage_class="by-name", shared=True),
    StorageRule(source_id="ds-5", storage_class="by-id", shared=True),
)
SHARED_DISK: Final = DiskRule(disk="2000", storage_class="by-disk", decides_storage=True, shared=True)
BY_LABEL: Final = DiskRule(
    disk="", label="Hard disk 1", storage_class="by-label", decides_storage=True, shared=True
)


def chosen(disk: Disk = DISK, **target: Any) -> str:
    return storage_choice(disk, into(**target)).rule.storage_class


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ({}, ""),
        ({"storage": (SSD,)}, "by-name"),
        ({"storage": (SSD, BY_STORAGE_ID)}, "by-id"),
        ({"storage": (BY_STORAGE_ID,), "disks": (SHARED_DISK,)}, "by-disk"),
        ({"disks": (BY_LABEL, SHARED_DISK)}, "by-disk"),
        ({"disks": (BY_LABEL,)}, "by-label"),
        ({"disks": (SHARED_DISK,), "storage_class": "import"}, "import"),
        ({"disks": (DiskRule(disk="disk-0", storage_class="own"), SHARED_DISK)}, "own"),
        ({"disks": (DiskRule(disk="disk-0", storage_class="own"),), "storage_class": "import"}, "own"),
        ({"disks": (DiskRule(disk="disk-0", bus=Bus.SATA), SHARED_DISK)}, "by-disk"),
        ({"disks": (DiskRule(disk="disk-0", decides_storage=True), SHARED_DISK)}, ""),
        ({"disks": (SHARED_DISK.model_copy(update={"storage_class": ""}),), "storage": (SSD,)}, ""),
        ({"storage": (SSD.model_copy(update={"storage_class": ""}),)}, ""),
    ],
)
def test_the_class_of_a_disk(target: dict[str, Any], wanted: str) -> None:
    assert chosen(**target) == wanted


@pytest.mark.parametrize("name", ["disk-0", "2000", "6000c29"])
def test_a_shared_row_for_a_disk_is_by_any_of_its_ids(name: str) -> None:
    assert disk_rule(DISK, [DiskRule(disk=name, bus=Bus.USB, shared=True)]).bus is Bus.USB


@pytest.mark.parametrize("name", ["Hard disk 1", "", "2001", "ds-5"])
def test_what_is_no_id_of_a_disk_fits_none(name: str) -> None:
    bare = a_disk(1, key="2002", uuid="", label="")
    assert disk_rule(DISK, [DiskRule(disk=name, bus=Bus.USB, shared=True)]).bus is None
    assert disk_rule(bare, [DiskRule(disk="", label="", bus=Bus.USB, shared=True)]).bus is None


def test_a_disk_without_a_storage_fits_no_row() -> None:
    assert (
        chosen(a_disk(1), storage=(StorageRule(source="", source_id="", storage_class="x", shared=True),))
        == ""
    )


def test_the_bus_is_that_of_the_first_row_with_one() -> None:
    rows = (
        DiskRule(disk="disk-0", storage_class="own"),
        SHARED_DISK.model_copy(update={"bus": Bus.VIRTIO}),
    )
    (made,) = map_disks((DISK,), into(disks=rows))
    assert made.bus is Bus.VIRTIO
    own_bus = rows[0].model_copy(update={"bus": Bus.SATA})
    (made,) = map_disks((DISK,), into(disks=(*rows[1:], own_bus)))
    assert made.bus is Bus.SATA


def test_shared_rows_for_disks_of_other_vms_are_no_fault() -> None:
    rows = (SHARED_DISK, BY_LABEL, DiskRule(disk="9999", shared=True))
    assert check_disks(into(disks=rows), a_machine(disks=(DISK,))) == []


# --- what is said about it


def test_a_resolution_names_the_row_and_its_document() -> None:
    target = into(
        own("DMZ", "ns/dmz"),
        BY_VLAN,
        storage=(SSD,),
        disks=(DiskRule(disk="disk-1", storage_class="own"),),
    )
    nics = (NIC, a_nic(1, network="DMZ"), a_nic(2, network="none"))
    machine = a_machine(nics=nics, disks=(DISK, a_disk(1), a_disk(2)))
    assert [str(one) for one in resolutions(machine, target)] == [
        "nic-0: ns/vlan, by the row for VLAN 12 of ImportMapping infra/dc1",
        "nic-1: ns/dmz, by the row for network 'DMZ' of the import",
        "disk-0: storage class by-name, by the row for storage 'ssd' of ImportMapping infra/dc1",
        "disk-1: storage class own, by the row for disk 'disk-1' of the import",
    ]


def test_the_class_of_the_import_is_named_as_the_field_that_it_is() -> None:
    (found,) = resolutions(a_machine(), into(storage_class="fast", storage=(SSD,)))
    assert str(found) == "disk-0: storage class fast, by spec.storageClass of the import"


def test_rows_that_fit_nothing_of_a_vm_are_known() -> None:
    target = into(BY_MAC, *OTHERS[:1], own("DMZ"), storage=(SSD,), disks=(SHARED_DISK, BY_LABEL))
    machine = a_machine(nics=(NIC,), disks=(a_disk(3),))
    assert unused_rows(machine, target) == {
        "the row for MAC address 00:50:56:ff:ff:ff",
        "the row for storage 'ssd'",
        "the row for disk '2000'",
        "the row for disk 'Hard disk 1'",
    }


def test_a_mapping_that_fits_nothing_is_a_warning() -> None:
    machine = a_machine(nics=(NIC,), disks=(DISK,))
    (concern,) = check_shared(into(*OTHERS, own("VM Network")), machine)
    assert (concern.severity, concern.code) == (Severity.WARN, "mapping-unused")
    assert "no row of ImportMapping infra/dc1 fits a NIC or a disk of web01" in str(concern)


@pytest.mark.parametrize(
    "target",
    [
        into(),
        into(*OTHERS, BY_VLAN),
        into(*OTHERS, BY_VLAN, own("VM Network")),
        into(*OTHERS, storage=(SSD,)),
        into(*OTHERS, disks=(BY_LABEL,)),
        a_target(networks=(own("none"),)),
    ],
)
def test_a_mapping_without_rows_or_with_one_that_fits_is_none(target: TargetPlan) -> None:
    assert list(check_shared(target, a_machine(nics=(NIC,), disks=(DISK,)))) == []
