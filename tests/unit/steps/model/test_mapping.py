from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.contract import Exit, StepError
from steps.model.machine import Controller, Disk, Machine, Nic, NicModel, Severity
from steps.model.mapping import Topology, blocking, check_disks, map_disks, shape, topology
from steps.model.matching import network_rule
from steps.model.naming import DNS_LABEL, normalise, target_name
from steps.model.networks import (
    POD_NETWORK,
    Interface,
    check_cards,
    check_networks,
    map_interfaces,
)
from steps.model.plan import (
    Bus,
    CpuTopology,
    DiskRule,
    InterfaceModel,
    MacPolicy,
    NamePolicy,
    NetworkPolicy,
    NetworkRule,
    Plan,
    TargetPlan,
)
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan, a_target


def into(default: Bus, *rules: DiskRule) -> TargetPlan:
    return a_target(default_bus=default, disks=rules)


# --- buses and models: the tables of vm-import-controller

BUSES = {
    Controller.PVSCSI: Bus.SATA,
    Controller.SCSI: Bus.SCSI,
    Controller.BUSLOGIC: Bus.SCSI,
    Controller.LSILOGIC: Bus.SCSI,
    Controller.LSILOGIC_SAS: Bus.SCSI,
    Controller.SATA: Bus.SATA,
    Controller.IDE: Bus.SATA,
    Controller.NVME: Bus.VIRTIO,
    Controller.USB: Bus.USB,
    Controller.VIRTIO: Bus.VIRTIO,
}
MODELS = {
    NicModel.VMXNET: InterfaceModel.VIRTIO,
    NicModel.VMXNET2: InterfaceModel.VIRTIO,
    NicModel.VMXNET3: InterfaceModel.VIRTIO,
    NicModel.E1000: InterfaceModel.E1000,
    NicModel.E1000E: InterfaceModel.E1000E,
    NicModel.PCNET32: InterfaceModel.PCNET,
    NicModel.RTL8139: InterfaceModel.RTL8139,
    NicModel.NE2K_PCI: InterfaceModel.NE2K_PCI,
    NicModel.VIRTIO: InterfaceModel.VIRTIO,
}


@pytest.mark.parametrize(("controller", "bus"), BUSES.items())
def test_a_disk_gets_the_bus_of_its_controller_whatever_the_default(controller: Controller, bus: Bus) -> None:
    (disk,) = map_disks([a_disk(controller=controller)], into(Bus.USB if bus is not Bus.USB else Bus.SATA))
    assert disk.bus is bus


@pytest.mark.parametrize("default", Bus)
def test_a_disk_on_an_unknown_controller_gets_the_default_bus(default: Bus) -> None:
    (disk,) = map_disks([a_disk(controller=Controller.UNKNOWN)], into(default))
    assert disk.bus is default


def test_every_controller_is_in_the_table_or_unknown() -> None:
    assert set(Controller) == {*BUSES, Controller.UNKNOWN}


def on(model: NicModel, default: InterfaceModel, override: InterfaceModel | None = None) -> InterfaceModel:
    """The model that a mapped NIC of that model gets."""
    rule = NetworkRule(source="net", destination="ns/a", model=override)
    target = a_target(default_model=default, networks=(rule,))
    (interface,), _ = map_interfaces([a_nic(model=model, network="net")], target)
    return interface.model


@pytest.mark.parametrize(("model", "wanted"), MODELS.items())
def test_a_mapped_nic_keeps_its_model(model: NicModel, wanted: InterfaceModel) -> None:
    other = InterfaceModel.PCNET if wanted is not InterfaceModel.PCNET else InterfaceModel.E1000
    assert on(model, default=other) is wanted


@pytest.mark.parametrize("model", [NicModel.UNKNOWN, NicModel.SRIOV])
def test_a_mapped_nic_of_unknown_model_gets_the_default(model: NicModel) -> None:
    assert on(model, default=InterfaceModel.RTL8139) is InterfaceModel.RTL8139


@pytest.mark.parametrize("model", NicModel)
def test_a_model_in_the_mapping_row_wins(model: NicModel) -> None:
    assert on(model, InterfaceModel.VIRTIO, override=InterfaceModel.NE2K_PCI) is InterfaceModel.NE2K_PCI


# --- CPU


@given(vcpus=st.integers(1, 1024), cores=st.integers(1, 128), threads=st.integers(1, 8))
def test_the_topology_multiplies_to_the_number_of_vcpus(vcpus: int, cores: int, threads: int) -> None:
    for policy in CpuTopology:
        found, concerns = topology(vcpus, cores, threads, policy=policy)
        assert found.sockets * found.cores * found.threads == vcpus
        assert bool(concerns) is ((found.cores, found.threads) != (cores, threads))
    _, concerns = topology(vcpus, cores, threads, policy=CpuTopology.SOURCE)
    assert bool(concerns) is (vcpus % (cores * threads) != 0)


@given(vcpus=st.integers(1, 1024), cores=st.integers(1, 128), threads=st.integers(1, 8))
def test_there_is_one_socket_unless_the_topology_of_the_source_is_requested(
    vcpus: int, cores: int, threads: int
) -> None:
    found, _ = topology(vcpus, cores, threads)
    assert found.sockets == 1
    assert found.threads == (threads if vcpus % threads == 0 else 1)


@pytest.mark.parametrize(
    ("vcpus", "cores", "threads", "wanted"),
    [
        (8, 4, 1, (2, 4, 1)),
        (4, 1, 1, (4, 1, 1)),
        (4, 4, 1, (1, 4, 1)),
        (6, 4, 1, (6, 1, 1)),
        (8, 2, 2, (2, 2, 2)),
        (6, 3, 4, (2, 3, 1)),
    ],
)
def test_the_sockets_of_the_source_are_vcpus_by_cores_and_threads(
    vcpus: int, cores: int, threads: int, wanted: tuple[int, int, int]
) -> None:
    assert topology(vcpus, cores, threads, policy=CpuTopology.SOURCE)[0] == Topology(*wanted)


def test_the_plan_names_the_topology_of_the_source() -> None:
    (concern,) = topology(4, 1)[1]
    assert (concern.severity, concern.code) == (Severity.LOG, "cpu-one-socket")
    assert str(concern) == "the source's sockets have 1 core; the VM gets 1 socket of 4 cores"


def test_a_topology_of_one_socket_causes_no_concern() -> None:
    assert topology(4, 4)[1] == []


def test_the_setting_keeps_the_topology_of_the_source() -> None:
    made = shape(a_plan(cpu_topology=CpuTopology.SOURCE), a_machine(vcpus=4, cores_per_socket=2))
    assert (made.sockets, made.cores) == (2, 2)


def test_vcpus_and_memory_of_the_request_win() -> None:
    made = shape(a_plan(vcpus=6, memory_mib=512), a_machine(vcpus=2, cores_per_socket=2))
    assert (made.vcpus, made.memory_mib) == (6, 512)


# --- MAC addresses


def test_a_row_can_request_a_new_mac() -> None:
    rows = [
        NetworkRule(source="a", destination="default/vlan1", mac=MacPolicy.NEW),
        NetworkRule(source="b", destination="default/vlan1"),
    ]
    nics = [
        a_nic(0, network="a", mac="00:50:56:00:00:01"),
        a_nic(1, network="b", mac="00:50:56:00:00:02"),
    ]
    found, _ = map_interfaces(nics, a_target(networks=tuple(rows)))
    assert [interface.mac for interface in found] == [None, "00:50:56:00:00:02"]


# --- boot order


def orders(*source: int | None) -> list[int | None]:
    disks = [a_disk(number, boot_order=order) for number, order in enumerate(source)]
    return [disk.boot_order for disk in map_disks(disks, into(Bus.VIRTIO))]


def test_without_a_source_order_disks_boot_in_the_order_they_have() -> None:
    assert orders(None, None, None) == [1, 2, 3]


def test_the_order_of_the_source_is_kept_and_others_follow() -> None:
    assert orders(None, 1, None) == [2, 1, 3]


def test_a_high_order_at_the_source_leaves_room_for_the_others() -> None:
    assert orders(10, None) == [10, 11]


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any number of disks and NICs, some of them with a position in a common boot order."""
    disks, nics = draw(st.integers(1, 12)), draw(st.integers(0, 6))
    places: list[int | None] = list(range(1, 1 + draw(st.integers(0, disks + nics))))
    places += [None] * (disks + nics - len(places))
    places = draw(st.permutations(places))
    return a_machine(
        disks=tuple(a_disk(n, boot_order=places[n]) for n in range(disks)),
        nics=tuple(a_nic(n, network=f"net-{n % 3}", boot_order=places[disks + n]) for n in range(nics)),
    )


RULES = (NetworkRule(source="net-0", destination="ns/a"), NetworkRule(source="net-1", destination="ns/b"))


@given(machines())
def test_boot_orders_are_unique_and_start_at_one(machine: Machine) -> None:
    made = shape(a_plan(networks=RULES), machine)
    devices: list[Any] = [*made.disks, *made.interfaces]
    given_ = [device.boot_order for device in devices if device.boot_order is not None]
    assert len(given_) == len(set(given_))
    assert min(given_) >= 1
    assert all(disk.boot_order is not None for disk in made.disks)


@given(machines())
def test_devices_ordered_by_the_source_keep_their_order(machine: Machine) -> None:
    made = shape(a_plan(networks=RULES), machine)
    for before, after in zip(machine.disks, made.disks, strict=True):
        assert before.boot_order in (None, after.boot_order)
    ordered = [disk.boot_order for disk in made.disks]
    first_free = max((order for disk in machine.disks if (order := disk.boot_order)), default=0)
    added = [new for old, new in zip(machine.disks, ordered, strict=True) if old.boot_order is None]
    assert added == sorted(added, key=lambda order: order or 0)
    assert all(order is not None and order > first_free for order in added)


def test_a_duplicate_boot_order_becomes_unique() -> None:
    assert len(set(orders(1, 1))) == 2


# --- networks


def mapped(*nics: Nic, **target: Any) -> tuple[tuple[Interface, ...], list[str]]:
    interfaces, concerns = map_interfaces(nics, a_target(**target))
    return interfaces, [concern.code for concern in concerns]


def test_a_mapped_nic_is_bridged_and_keeps_its_mac() -> None:
    rule = NetworkRule(source="VM Network", destination="default/vlan1")
    (interface,), concerns = mapped(a_nic(7), networks=(rule,))
    assert (interface.name, interface.network) == ("migrated-0", "default/vlan1")
    assert interface.mac == a_nic(7).mac
    assert concerns == []


@pytest.mark.parametrize(
    "rules", [(), (NetworkRule(source="bogus", destination="default/vlan1"),)], ids=["unmapped", "bogus"]
)
def test_an_unmapped_nic_goes_to_the_pod_network_as_virtio(rules: tuple[NetworkRule, ...]) -> None:
    (interface,), concerns = mapped(a_nic(model=NicModel.E1000), networks=rules)
    assert (interface.name, interface.network) == (POD_NETWORK, "")
    assert interface.model is InterfaceModel.VIRTIO
    assert interface.mac == a_nic().mac
    assert concerns == ["network-unmapped"]


def test_a_second_unmapped_nic_is_left_out_with_a_warning() -> None:
    interfaces, concerns = map_interfaces([a_nic(0), a_nic(1, network="Backup")], a_target())
    assert [interface.name for interface in interfaces] == [POD_NETWORK]
    left_out = concerns[-1]
    assert (left_out.severity, left_out.code) == (Severity.WARN, "network-left-out")
    assert "nic-1" in str(left_out)
    assert "Backup" in str(left_out)


def test_names_of_interfaces_follow_the_nics_of_the_source() -> None:
    rule = NetworkRule(source="b", destination="default/b")
    nics = [a_nic(0, network="a"), a_nic(1, network="b"), a_nic(2, network="b")]
    interfaces, _ = mapped(*nics, networks=(rule,))
    assert [interface.name for interface in interfaces] == [POD_NETWORK, "migrated-1", "migrated-2"]


@given(machines())
def test_there_is_at_most_one_pod_network_and_no_name_twice(machine: Machine) -> None:
    interfaces, concerns = mapped(*machine.nics, networks=RULES)
    names = [interface.name for interface in interfaces]
    assert len(names) == len(set(names))
    assert names.count(POD_NETWORK) <= 1
    assert len(interfaces) + concerns.count("network-left-out") == len(machine.nics)


@pytest.mark.parametrize(
    "source", ["VM Network", "/DC0/network/VM Network", "network/VM Network", "network-7"]
)
def test_a_row_names_a_network_by_name_path_or_id(source: str) -> None:
    rule = NetworkRule(source=source, destination="default/vlan1")
    assert network_rule(a_nic(network="VM Network", network_id="network-7"), [rule]) is rule


@pytest.mark.parametrize("source", ["VM", "vm network", "VM Network/", "network-70"])
def test_a_row_of_another_network_does_not_match(source: str) -> None:
    rule = NetworkRule(source=source, destination="default/vlan1")
    assert network_rule(a_nic(network="VM Network", network_id="network-7"), [rule]) is None


def test_the_first_matching_row_wins() -> None:
    rules = [NetworkRule(source="VM Network", destination=f"default/{name}") for name in "ab"]
    assert network_rule(a_nic(), rules) is rules[0]


@pytest.mark.parametrize(
    ("policy", "severity"), [(NetworkPolicy.LENIENT, Severity.WARN), (NetworkPolicy.STRICT, Severity.BLOCK)]
)
def test_an_unknown_source_network_is_reported_or_refused(policy: NetworkPolicy, severity: Severity) -> None:
    rules = tuple(NetworkRule(source=name, destination="d/a") for name in ("VM Network", "bogus"))
    (concern,) = check_networks(
        a_target(networks=rules, network_policy=policy), [a_nic()], frozenset({"VM Network"})
    )
    assert (concern.severity, concern.code) == (severity, "network-unknown")
    assert concern.message == "source network 'bogus' not found"
    assert concern.remedy == "the source has: VM Network"
    assert bool(list(blocking([concern]))) is (policy is NetworkPolicy.STRICT)


def test_a_row_by_inventory_path_is_known() -> None:
    rule = NetworkRule(source="/DC0/network/VM Network", destination="d/a")
    assert check_networks(a_target(networks=(rule,)), [], frozenset({"VM Network"})) == []


# --- names


@given(st.text())
def test_any_text_becomes_a_stable_label(text: str) -> None:
    label = normalise(text)
    assert DNS_LABEL.fullmatch(label)
    assert normalise(text) == label
    assert normalise(label) == label


@given(st.from_regex(DNS_LABEL, fullmatch=True))
def test_a_valid_label_is_not_changed(label: str) -> None:
    assert normalise(label) == label
    assert target_name(a_plan(), a_machine(name=label)) == label


def test_long_names_with_the_same_start_stay_different() -> None:
    assert normalise("a" * 70) != normalise("a" * 71)


def test_a_name_with_an_undecodable_byte_becomes_a_label() -> None:
    assert DNS_LABEL.fullmatch(normalise("caf\udce9"))


def test_the_chosen_name_wins() -> None:
    assert target_name(a_plan(vm_name="db-2"), a_machine(name="Web 01")) == "db-2"


def test_strict_names_are_refused_with_the_message_of_the_qa_plan() -> None:
    plan = a_plan(name="focal-bad-name", name_policy=NamePolicy.STRICT)
    with pytest.raises(StepError) as caught:
        target_name(plan, a_machine(name="testFocalCamelCase"))
    assert caught.value.code is Exit.INVALID
    assert str(caught.value).startswith(
        "vm migration target testFocalCamelCase in VM focal-bad-name in namespace default "
        "is not RFC 1123 compliant"
    )


SPELLED = [
    ("Große Kiste 1", "grosse-kiste-1"),
    ("Übung@Büro #3 (alt)", "uebung-buero-3-alt"),
    ("MA\u1e9eTAB", "masstab"),
    ("a\u0308rger", "aerger"),  # as macOS writes it: the letter, then its dots
    ("Café Zürich", "cafe-zuerich"),
    ("señor-ação", "senor-acao"),
    ("Łódź", "lodz"),
    ("Smørrebrød", "smorrebrod"),
    ("Ångström", "angstroem"),
    ("Đorđe", "dorde"),
    ("ĲSSEL ﬁles ²", "ijssel-files-2"),
    ("İstanbul ılık", "istanbul-ilik"),
    ("𝐁𝐎𝐋𝐃 ℡", "bold-tel"),
    ("日本語サーバ", "vm-85c1da58"),
]


@pytest.mark.parametrize(("name", "label"), SPELLED)
def test_letters_beyond_ascii_are_transliterated(name: str, label: str) -> None:
    assert normalise(name) == label


def test_a_run_of_an_older_version_keeps_its_name() -> None:
    """A request of an older version has no spelling, and its VM may already exist with that name."""
    old = a_plan().model_dump_json(by_alias=True, exclude={"target": {"spelling"}})
    assert target_name(Plan.model_validate_json(old), a_machine(name="Große Kiste 1")) == "gro-e-kiste-1"


def test_normalise_lower_cases_what_strict_refuses() -> None:
    assert target_name(a_plan(), a_machine(name="testFocalCamelCase")) == "testfocalcamelcase"


def test_a_chosen_name_is_never_changed() -> None:
    with pytest.raises(StepError, match="is not RFC 1123 compliant"):
        target_name(a_plan(vm_name="Not_Fit"), a_machine())


# --- the whole shape


def test_the_shape_has_the_properties_of_the_source() -> None:
    machine = a_machine(notes="billing", guest_id="debian12_64Guest", os="debian12", cores_per_socket=2)
    made = shape(a_plan(start=False), machine)
    assert (made.description, made.guest_id, made.os) == ("billing", "debian12_64Guest", "debian12")
    assert (made.sockets, made.cores, made.start) == (1, 2, False)


def test_the_uuid_is_that_of_the_guest() -> None:
    uuid = "4210D2F7-6B1C-4C7F-9A53-6F0C2B0C9E11"
    assert shape(a_plan(), a_machine(uuid=uuid)).uuid == uuid.lower()
    other = "f7d21042-1c6b-7f4c-9a53-6f0c2b0c9e11"
    assert shape(a_plan(), a_machine(uuid=uuid, smbios_uuid=other)).uuid == other


def test_three_controllers_with_unit_zero_keep_their_own_sizes() -> None:
    sizes = [1 << 30, 2 << 30, 3 << 30]
    disks: list[Disk] = [
        a_disk(
            n, controller=Controller.PVSCSI, controller_key=str(1000 + n), bus_number=n, unit=0, capacity=s
        )
        for n, s in enumerate(sizes)
    ]
    assert [disk.capacity for disk in shape(a_plan(), a_machine(disks=tuple(disks))).disks] == sizes


@pytest.mark.parametrize("name", ["disk-0", "Hard disk 1", "2000"])
def test_a_row_of_the_disk_mapping_decides_the_bus(name: str) -> None:
    disk = a_disk(controller=Controller.PVSCSI).model_copy(update={"label": "Hard disk 1", "key": "2000"})
    (made,) = map_disks([disk], into(Bus.SCSI, DiskRule(disk=name, bus=Bus.VIRTIO)))
    assert made.bus is Bus.VIRTIO


def test_a_row_for_an_unknown_disk_blocks_the_import() -> None:
    (concern,) = check_disks(into(Bus.SCSI, DiskRule(disk="disk-7")), a_machine(disks=(a_disk(),)))
    assert concern.severity is Severity.BLOCK
    assert "disk-7" in str(concern)


def named_twice(**more: Any) -> Machine:
    return a_machine(disks=(a_disk(0, label="data", **more), a_disk(1, label="data", **more)))


@pytest.mark.parametrize(
    ("names", "machine", "codes"),
    [
        (("data",), named_twice(), ["disk-ambiguous"]),
        (("disk-0", "disk-1"), named_twice(), []),
        (("disk-0", "2000"), a_machine(disks=(a_disk(0, key="2000"),)), ["disk-ambiguous"]),
        (("disk-0", "disk-7"), a_machine(disks=(a_disk(0),)), ["disk-unknown"]),
        (("disk-0", "disk-0"), a_machine(disks=(a_disk(0),)), []),  # the same text twice
    ],
)
def test_each_row_of_the_disk_mapping_selects_exactly_one_disk(
    names: tuple[str, ...], machine: Machine, codes: list[str]
) -> None:
    found = check_disks(into(Bus.SCSI, *(DiskRule(disk=name) for name in names)), machine)
    assert [concern.code for concern in found] == codes
    assert all(concern.severity is Severity.BLOCK for concern in found)


def rows(*sources: str) -> TargetPlan:
    rules = tuple(
        NetworkRule(source=source, destination=f"default/{number}") for number, source in enumerate(sources)
    )
    return a_target(networks=rules)


@pytest.mark.parametrize(
    ("sources", "taken", "codes"),
    [
        (("VM Network", "network-12"), 1, []),  # by ID before by name, whichever comes first
        (("network-12", "VM Network"), 0, []),
        (("/DC0/network/VM Network", "VM Network"), 1, []),
        (("/DC0/network/VM Network", "/DC1/network/VM Network"), 0, ["network-ambiguous"]),
    ],
)
def test_the_best_matching_row_of_the_network_mapping_is_used(
    sources: tuple[str, ...], taken: int, codes: list[str]
) -> None:
    nic = a_nic(network="VM Network", network_id="network-12")
    target = rows(*sources)
    assert [one.code for one in check_cards(target, [nic])] == codes
    assert network_rule(nic, target.networks) == target.networks[taken]
