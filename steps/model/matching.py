"""Which row of a mapping is for which NIC or disk. Pure: nothing else compares rows with devices.

The rows of the import come first, then those of the mapping that it shares with other imports. In each of
the two, a row for one NIC counts before a row for its network, and an ID before a name:

    MAC address of the NIC, ID of the network, its name, the last part of an inventory path, its VLAN

In a plan with `first_match` the first row that fits counts, as vm-import-operator defines it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

from steps.model.machine import Disk, Machine, Nic
from steps.model.naming import shown
from steps.model.plan import Bus, DiskRule, NetworkRule, StorageRule, TargetPlan

NetworkTest = Callable[[NetworkRule, Nic], bool]
R = TypeVar("R", NetworkRule, DiskRule)
IMPORT: Final = "the import"


# --- NICs


def _by_mac(rule: NetworkRule, nic: Nic) -> bool:
    return bool(rule.nic_mac) and rule.nic_mac == nic.mac


def _by_id(rule: NetworkRule, nic: Nic) -> bool:
    """A row of an import has one text, which may also be an ID."""
    written = rule.source_id if rule.shared else rule.source
    return bool(nic.network_id) and written == nic.network_id


def _by_name(rule: NetworkRule, nic: Nic) -> bool:
    return bool(nic.network) and rule.source == nic.network


def _by_path(rule: NetworkRule, nic: Nic) -> bool:
    return bool(nic.network) and rule.source.rsplit("/", 1)[-1] == nic.network


def _by_vlan(rule: NetworkRule, nic: Nic) -> bool:
    return rule.vlan is not None and rule.vlan == nic.vlan


NETWORK_TESTS: Final[tuple[NetworkTest, ...]] = (_by_mac, _by_id, _by_name, _by_path, _by_vlan)
"""From the best match to the weakest one."""


def network_rules(nic: Nic, rules: Iterable[NetworkRule]) -> list[NetworkRule]:
    """The best rows for this NIC: none, one, or several that match it equally well."""
    rules = tuple(rules)
    for some in _own_then_shared(rules):
        for fits in NETWORK_TESTS:
            if found := [rule for rule in some if fits(rule, nic)]:
                return found
    return []


def network_rule(nic: Nic, rules: Iterable[NetworkRule], *, first_match: bool = False) -> NetworkRule | None:
    """The row for this NIC: the first that fits, or the first of the best matches.

    Several of the best matches are refused by `steps.model.networks.check_cards`.
    """
    if first_match:
        return next((rule for rule in rules if _is_first_match(rule, nic)), None)
    return next(iter(network_rules(nic, rules)), None)


def _is_first_match(rule: NetworkRule, nic: Nic) -> bool:
    """By the ID of the network; by its name, alone or as a path; or by the label of the NIC."""
    by_id = bool(rule.source_id) and rule.source_id == nic.network_id
    by_label = bool(rule.source) and rule.source == nic.label
    return by_id or _by_name(rule, nic) or _by_path(rule, nic) or by_label


def rule_of_nic(nic: Nic, target: TargetPlan) -> NetworkRule | None:
    """The row for this NIC in a plan; None without one."""
    return network_rule(nic, target.networks, first_match=target.first_match)


# --- disks


def is_for_disk(rule: DiskRule, disk: Disk) -> bool:
    """Whether a row is for this disk.

    A row of an import has one text: the disk's ID in vmferry, its label, or its key at the source. A row of a
    shared mapping has an ID, which may also be the UUID of the disk's file, or a label.
    """
    by_label = bool(rule.label) and rule.label == disk.label
    if rule.shared:
        return by_label or (bool(rule.disk) and rule.disk in (disk.id, disk.key, disk.uuid))
    return by_label or rule.disk in (disk.id, disk.label, disk.key)


def disk_rules(disk: Disk, rules: Iterable[DiskRule]) -> list[DiskRule]:
    """All rows for this disk: those of the import first, then those of the shared mapping by ID, by label."""
    fitting = [rule for rule in rules if is_for_disk(rule, disk)]
    own, shared = _own_then_shared(fitting)
    return [*own, *sorted(shared, key=lambda rule: not rule.disk)]


def disk_rule(disk: Disk, rules: Iterable[DiskRule]) -> DiskRule:
    """The row for this disk; else a row with defaults."""
    return next(iter(disk_rules(disk, rules)), DiskRule(disk=disk.id))


def bus_of_row(disk: Disk, rules: Iterable[DiskRule]) -> Bus | None:
    """The bus in the first row for this disk that has one."""
    return next((rule.bus for rule in disk_rules(disk, rules) if rule.bus is not None), None)


def is_skipped(disk: Disk, rules: Iterable[DiskRule]) -> bool:
    """Whether a row of the import leaves this disk out."""
    return any(rule.skip for rule in disk_rules(disk, rules))


def volume_name_of_row(disk: Disk, rules: Iterable[DiskRule]) -> str:
    """The name of this disk's volume in the first row that has one; else empty."""
    return next((rule.name for rule in disk_rules(disk, rules) if rule.name), "")


class StorageChoice(NamedTuple):
    """The class and the modes of the volume of a disk, and what has decided it."""

    rule: StorageRule
    by: str = ""
    """The row or the field, as a part of a sentence; empty: nothing, so the cluster's default applies."""
    shared: bool = False
    """Whether it is a row of the shared mapping."""


def storage_choice(disk: Disk, target: TargetPlan) -> StorageChoice:
    """What decides the storage of this disk.

    A row of the import for the disk, the class of the import, a row of the shared mapping for the disk, its
    row for the storage that the disk is in, the default of the cluster.
    """
    deciding = [row for row in disk_rules(disk, target.disks) if row.storage_class or row.decides_storage]
    own, shared = _own_then_shared(deciding)
    for row in own:
        return StorageChoice(_storage_of(row), _disk_words(row))
    general = StorageRule(storage_class=target.storage_class)
    if target.storage_class and not target.first_match:
        return StorageChoice(general, "spec.storageClass")
    for row in shared:
        return StorageChoice(_storage_of(row), _disk_words(row), shared=True)
    for fits in (_by_storage_id, _by_storage_name) if not target.first_match else (_is_storage_of,):
        for found in (row for row in target.storage if fits(row, disk)):
            return StorageChoice(found, _storage_words(found), shared=found.shared)
    return StorageChoice(general, "spec.storageClass" if target.storage_class else "")


def storage_rule(disk: Disk, target: TargetPlan) -> StorageRule:
    """Class and modes of the volume of a disk. A row of the import for the disk decides on each mode."""
    chosen = storage_choice(disk, target).rule
    if target.first_match:
        return chosen
    own = next((row for row in disk_rules(disk, target.disks) if not row.shared), None)
    if own is None:
        return chosen
    return chosen.model_copy(
        update={
            "volume_mode": own.volume_mode or chosen.volume_mode,
            "access_mode": own.access_mode or chosen.access_mode,
        }
    )


def _storage_of(row: DiskRule) -> StorageRule:
    return StorageRule(
        storage_class=row.storage_class,
        volume_mode=row.volume_mode,
        access_mode=row.access_mode,
        shared=row.shared,
    )


def _by_storage_id(row: StorageRule, disk: Disk) -> bool:
    return bool(row.source_id) and row.source_id == disk.storage_id


def _by_storage_name(row: StorageRule, disk: Disk) -> bool:
    return bool(row.source) and row.source == disk.storage


def _is_storage_of(row: StorageRule, disk: Disk) -> bool:
    return _by_storage_id(row, disk) or _by_storage_name(row, disk)


# --- what has decided, for a plan and for a status


class Resolution(NamedTuple):
    """The result for a NIC or a disk, and the row that decided it."""

    device: str
    """The id of the NIC or the disk."""
    becomes: str
    by: str
    document: str
    """`IMPORT`, or the mapping: `ImportMapping NAMESPACE/NAME`."""

    def __str__(self) -> str:
        return f"{self.device}: {self.becomes}, by {self.by} of {self.document}"


def resolutions(machine: Machine, target: TargetPlan) -> tuple[Resolution, ...]:
    """The rows that count for a VM. A NIC or a disk that no row is for is not among them."""
    return (*_network_resolutions(machine.nics, target), *_disk_resolutions(machine.disks, target))


def _network_resolutions(nics: Iterable[Nic], target: TargetPlan) -> Iterator[Resolution]:
    for nic in nics:
        rule = rule_of_nic(nic, target)
        if rule is not None:
            becomes = rule.destination or str(rule.attachment)
            yield Resolution(nic.id, becomes, network_words(rule), _document(target, shared=rule.shared))


def _disk_resolutions(disks: Iterable[Disk], target: TargetPlan) -> Iterator[Resolution]:
    for disk in disks:
        choice = storage_choice(disk, target)
        if choice.by:
            becomes = f"storage class {choice.rule.storage_class or '(the default)'}"
            yield Resolution(disk.id, becomes, choice.by, _document(target, shared=choice.shared))


def _document(target: TargetPlan, *, shared: bool) -> str:
    if target.first_match:  # the rows of both documents are merged
        return f"{IMPORT} or its ResourceMapping"
    return target.mapping.title if shared and target.mapping is not None else IMPORT


def unused_rows(machine: Machine, target: TargetPlan) -> frozenset[str]:
    """The rows of the shared mapping that fit nothing of this VM, each in words."""
    return frozenset(words for words, fits in _shared_rows(machine, target) if not fits)


def fits_nothing(machine: Machine, target: TargetPlan) -> bool:
    """Whether there is a shared mapping with rows, and none of them fits anything of this VM."""
    found = [fits for _, fits in _shared_rows(machine, target)]
    return bool(found) and not any(found)


def _shared_rows(machine: Machine, target: TargetPlan) -> Iterator[tuple[str, bool]]:
    """Each row of the shared mapping in words, and whether it fits a NIC or a disk of this VM."""
    for network in target.networks:
        if network.shared:
            fits = any(test(network, nic) for test in NETWORK_TESTS for nic in machine.nics)
            yield network_words(network), fits
    for storage in target.storage:
        if storage.shared:
            yield _storage_words(storage), any(_is_storage_of(storage, disk) for disk in machine.disks)
    for row in target.disks:
        if row.shared:
            yield _disk_words(row), any(is_for_disk(row, disk) for disk in machine.disks)


def network_words(rule: NetworkRule) -> str:
    """A row for a network, for messages."""
    if rule.nic_mac:
        return f"the row for MAC address {rule.nic_mac}"
    if rule.vlan is not None:
        return f"the row for VLAN {rule.vlan}"
    return f"the row for network {shown(rule.source or rule.source_id)}"


def _storage_words(rule: StorageRule) -> str:
    return f"the row for storage {shown(rule.source or rule.source_id)}"


def _disk_words(rule: DiskRule) -> str:
    return f"the row for disk {shown(rule.disk or rule.label)}"


def _own_then_shared(rules: Iterable[R]) -> tuple[list[R], list[R]]:
    rules = tuple(rules)
    return [rule for rule in rules if not rule.shared], [rule for rule in rules if rule.shared]
