"""Rules of a mapping that imports share: the first row that fits counts."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.machine import Severity
from steps.model.mapping import check_disks
from steps.model.matching import storage_rule
from steps.model.networks import check_cards, check_mapped, check_networks, map_interfaces
from steps.model.plan import Attachment, DiskRule, NetworkRule, StorageRule, TargetPlan, Unmapped, Unplugged
from tests.unit.builders import a_disk, a_machine, a_nic, a_target


def shared(*networks: NetworkRule, **more: Any) -> TargetPlan:
    return a_target(
        first_match=True,
        unmapped=Unmapped.BLOCK,
        unplugged=Unplugged.LEFT_OUT,
        networks=networks,
        **more,
    )


POD = NetworkRule(source="VM Network", attachment=Attachment.POD)
VLAN = NetworkRule(source="VM Network", destination="ns/vlan")
BY_ID = NetworkRule(source="other", source_id="network-7", destination="ns/id")
BY_LABEL = NetworkRule(source="Network adapter 1", destination="ns/label")
NIC = a_nic(network="VM Network", network_id="network-7", label="Network adapter 1")


@pytest.mark.parametrize(
    ("rules", "network"),
    [((VLAN, BY_ID), "ns/vlan"), ((BY_ID, VLAN), "ns/id"), ((BY_LABEL, VLAN), "ns/label"), ((POD, VLAN), "")],
)
def test_the_first_row_that_fits_counts(rules: tuple[NetworkRule, ...], network: str) -> None:
    target = shared(*rules)
    (interface,), _ = map_interfaces([NIC], target)
    assert interface.network == network
    assert list(check_cards(target, [NIC])) == []


def test_a_nic_without_a_row_is_refused() -> None:
    (concern,) = check_mapped(shared(), [NIC])
    assert concern.severity is Severity.BLOCK
    assert str(concern) == "VM has one or more unmapped networks: VM Network (network-7)"


def test_without_that_policy_it_is_not() -> None:
    assert list(check_mapped(a_target(), [NIC])) == []


def test_two_nics_on_the_pod_network_are_refused() -> None:
    other = a_nic(id="nic-1", network="other", network_id="network-8")
    rules = (POD, NetworkRule(source="other", attachment=Attachment.POD))
    (concern,) = check_mapped(shared(*rules), [NIC, other])
    assert concern.code == "network.pod.multiple"
    assert str(concern).endswith(": VM Network, other")


def test_an_unplugged_nic_is_left_out_with_a_warning() -> None:
    unplugged = a_nic(network="VM Network", plugged=False)
    interfaces, concerns = map_interfaces([unplugged], shared(VLAN))
    assert interfaces == ()
    assert [concern.code for concern in concerns] == ["nic-unplugged"]
    assert list(check_mapped(shared(), [unplugged])) == [], "it needs no row"


def test_in_our_own_api_an_unplugged_nic_stays() -> None:
    interfaces, _ = map_interfaces([a_nic(plugged=False, connected=False)], a_target())
    assert [interface.connected for interface in interfaces] == [False]


def test_a_nic_without_a_network_is_left_out() -> None:
    interfaces, concerns = map_interfaces([a_nic(network="", network_id="")], shared(VLAN))
    assert interfaces == ()
    assert [concern.code for concern in concerns] == ["nic-without-network"]


def test_an_ignored_nic_is_left_out() -> None:
    rule = NetworkRule(source="VM Network", attachment=Attachment.IGNORED)
    interfaces, concerns = map_interfaces([NIC], shared(rule))
    assert interfaces == ()
    assert [concern.severity for concern in concerns] == [Severity.LOG]


def test_a_row_by_id_of_a_known_network_is_no_warning() -> None:
    rule = NetworkRule(source="", source_id="network-7", destination="ns/a")
    assert check_networks(shared(rule), [], frozenset({"network-7"})) == []
    assert check_networks(shared(rule), [NIC], frozenset({"VM Network"})) == []
    (concern,) = check_networks(shared(rule), [], frozenset({"network-8"}))
    assert "'network-7' not found" in concern.message


# --- storage

DISK = a_disk(0, key="2000", label="Hard disk 1", storage="iSCSI", storage_id="datastore-5")
BY_STORAGE = StorageRule(source="iSCSI", storage_class="slow", volume_mode="Block")


def chosen(**target: Any) -> tuple[str, str]:
    found = storage_rule(DISK, a_target(first_match=True, **target))
    return found.storage_class, found.volume_mode


def test_a_row_for_the_disk_has_precedence_over_its_storage() -> None:
    disk = DiskRule(disk="2000", storage_class="fast", decides_storage=True)
    assert chosen(disks=(disk,), storage=(BY_STORAGE,)) == ("fast", "")
    assert chosen(storage=(BY_STORAGE,)) == ("slow", "Block")


def test_an_empty_class_means_the_default_of_the_cluster() -> None:
    disk = DiskRule(disk="x", label="Hard disk 1", decides_storage=True)
    assert chosen(disks=(disk,), storage=(BY_STORAGE,), storage_class="spec") == ("", "")


def test_in_our_own_api_a_row_without_a_class_means_that_of_the_import() -> None:
    assert chosen(disks=(DiskRule(disk="2000"),), storage_class="spec") == ("spec", "")


def test_a_storage_by_its_id() -> None:
    rows = (StorageRule(source_id="datastore-4", storage_class="a"), StorageRule(source_id="datastore-5"))
    assert chosen(storage=rows, storage_class="spec") == ("", "")


def test_a_row_that_fits_no_disk_is_a_warning_if_others_share_it() -> None:
    rule = DiskRule(disk="2001", decides_storage=True)
    (concern,) = check_disks(shared(disks=(rule,)), a_machine(disks=(DISK,)))
    assert (concern.severity, concern.code) == (Severity.WARN, "disk-unknown")
    assert "2000 (Hard disk 1)" in str(concern)
