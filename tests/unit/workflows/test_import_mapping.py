"""An ImportMapping as rows of the engine, and what is wrong with it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model.plan import (
    Attachment,
    Bus,
    DiskWay,
    InterfaceModel,
    MacPolicy,
    Plan,
    TargetKind,
    UsedMapping,
)
from tests.unit.builders import a_source, an_import
from workflows.api.mapping import LONGEST_NAME, MOST_ROWS, ImportMapping
from workflows.import_mapping import canonical_mac, reasons, rows
from workflows.mappings import DiskRow, NetworkRow, StorageRow
from workflows.plan import Invalid, plan
from workflows.settings import Settings, WantedWay


def a_mapping(generation: int = 1, **spec: Any) -> ImportMapping:
    return ImportMapping.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "ImportMapping",
            "metadata": {"name": "dc1", "namespace": "infra", "generation": generation},
            "spec": spec,
        },
        by_alias=True,
        by_name=False,
    )


def network(destination: str | None = "vlan1", **more: Any) -> dict[str, Any]:
    source = more.pop("source", {"name": "VM Network"})
    given = {"source": source, "destinationNetwork": destination, **more}
    return {name: value for name, value in given.items() if value is not None}


def storage(name: str = "ds", storage_class: str | None = "fast") -> dict[str, Any]:
    return {"source": {"name": name}, "storageClass": storage_class}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (network(), NetworkRow(name="VM Network", attachment=Attachment.NETWORK, network="shop/vlan1")),
        (
            network("nets/vlan1", source={"id": "net-7"}, type="multus"),
            NetworkRow(id="net-7", attachment=Attachment.NETWORK, network="nets/vlan1"),
        ),
        (
            network(None, source={"vlan": 12}, type="pod"),
            NetworkRow(vlan=12, attachment=Attachment.POD),
        ),
        (
            network(None, source={"mac": "00-50-56-AA-BB-01"}, type="ignored"),
            NetworkRow(nic_mac="00:50:56:aa:bb:01", attachment=Attachment.IGNORED),
        ),
        (
            network(networkInterfaceModel="e1000", mac="new"),
            NetworkRow(
                name="VM Network",
                attachment=Attachment.NETWORK,
                network="shop/vlan1",
                model=InterfaceModel.E1000,
                mac=MacPolicy.NEW,
            ),
        ),
    ],
)
def test_a_row_for_a_network(row: dict[str, Any], wanted: NetworkRow) -> None:
    assert rows(a_mapping(networks=[row]).spec, "shop").networks == (wanted,)


def test_rows_for_storage_and_disks() -> None:
    disks = [
        {"source": {"id": "2000"}, "storageClass": ""},
        {"source": {"name": "Hard disk 2"}, "busType": "sata"},
    ]
    found = rows(a_mapping(storage=[storage(), storage("b", "")], disks=disks).spec, "shop")
    assert found.storages == (StorageRow(name="ds", storage_class="fast"), StorageRow(name="b"))
    assert found.disks == (
        DiskRow(id="2000"),
        DiskRow(name="Hard disk 2", decides_storage=False, bus=Bus.SATA),
    )


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("00:50:56:AA:bb:01", "00:50:56:aa:bb:01"),
        ("00-50-56-aa-bb-01", "00:50:56:aa:bb:01"),
        ("0050.56aa.bb01", ""),
        ("00:50:56:aa:bb", ""),
        ("00:50:56:aa:bb:01\n", ""),
        ("\u0660\u0660:50:56:aa:bb:01", ""),
        ("", ""),
    ],
)
def test_a_mac_address_has_one_form(text: str, mac: str) -> None:
    assert canonical_mac(text) == mac


WRONG: Final = [
    (
        {"networks": [network(source={})]},
        "networks[0].source must have exactly one of name, id, vlan, mac; it has none of them",
    ),
    (
        {"networks": [network(source={"name": "a", "vlan": 1})]},
        "networks[0].source must have exactly one of name, id, vlan, mac; it has name, vlan",
    ),
    ({"networks": [network(source={"name": ""})]}, "networks[0].source.name is empty"),
    ({"networks": [network(), network("vlan2")]}, "networks has 2 rows for name 'VM Network'"),
    (
        {"networks": [network(source={"vlan": 1}), network(source={"vlan": 1})]},
        "networks has 2 rows for vlan 1",
    ),
    (
        {
            "networks": [
                network(source={"mac": "00:50:56:AA:BB:01"}),
                network(source={"mac": "00-50-56-aa-bb-01"}),
            ]
        },
        "networks has 2 rows for mac '00:50:56:aa:bb:01'",
    ),
    ({"networks": [network(source={"vlan": 0})]}, "networks[0] has VLAN 0: write an ID from 1 to 4094"),
    ({"networks": [network(source={"vlan": 4095})]}, "networks[0] has VLAN 4095"),
    ({"networks": [network(source={"mac": "x"})]}, "networks[0] has 'x', which is not a MAC address"),
    ({"networks": [network(None)]}, "networks[0] has no destinationNetwork"),
    ({"networks": [network("")]}, "networks[0] has no destinationNetwork"),
    ({"networks": [network("a/b/c")]}, "networks[0] has the invalid destinationNetwork 'a/b/c'"),
    ({"networks": [network("../etc")]}, "invalid destinationNetwork '../etc'"),
    ({"networks": [network("a/")]}, "invalid destinationNetwork 'a/'"),
    ({"networks": [network("A\x1b[31m")]}, r"invalid destinationNetwork 'A\x1b[31m'"),
    (
        {"networks": [network("vlan1", type="pod")]},
        "networks[0] has the type pod and destinationNetwork 'vlan1': remove one of the two",
    ),
    (
        {"networks": [network(None, type="ignored", networkInterfaceModel="e1000")]},
        "networks[0] has the type ignored, so the VM does not get the NICs",
    ),
    ({"storage": [storage(storage_class=None)]}, "storage[0] has no storageClass"),
    ({"storage": [storage(storage_class="Fast Class")]}, "storage[0] has storageClass 'Fast Class'"),
    ({"storage": [storage(), storage(storage_class="slow")]}, "storage has 2 rows for name 'ds'"),
    ({"disks": [{"source": {"id": "1"}}]}, "disks[0] has neither storageClass nor busType"),
    ({"disks": [{"source": {"id": "1"}, "storageClass": "-"}]}, "disks[0] has storageClass '-'"),
    ({"networks": [network()] * (MOST_ROWS + 1)}, "networks has 257 rows; write at most 256"),
    (
        {"networks": [network(source={"name": "x" * (LONGEST_NAME + 1)})]},
        "networks[0].source.name has 513 characters; write at most 512",
    ),
]


@pytest.mark.parametrize(("spec", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_what_is_wrong_is_named_with_the_mapping_and_the_row(spec: dict[str, Any], words: str) -> None:
    (reason,) = reasons(a_mapping(**spec))
    assert reason.startswith("ImportMapping infra/dc1: spec.")
    assert words in reason


def test_the_rows_together_have_a_limit() -> None:
    """256 names of 512 signs of four bytes each do not fit into a ConfigMap with the rest of a request."""
    many = [network(source={"name": f"{number:03}" + "\U0001f600" * 509}) for number in range(256)]
    (reason,) = reasons(a_mapping(networks=many))
    assert reason.startswith("ImportMapping infra/dc1: its rows have 5")
    assert reason.endswith("bytes; write at most 262144: use several mappings")


def test_all_faults_are_reported_at_once() -> None:
    assert len(list(reasons(a_mapping(networks=[network(""), network("x/y/z", source={"vlan": 9})])))) == 2


def test_an_empty_mapping_is_fine() -> None:
    assert not list(reasons(a_mapping()))
    assert not list(reasons(a_mapping(networks=None, storage=None, disks=None)))


# --- the plan


def planned(mapping: ImportMapping | None, settings: Settings | None = None, **spec: Any) -> Plan:
    return plan(an_import(**spec), a_source(), settings or Settings(), mapping)


def test_the_rows_of_the_mapping_follow_those_of_the_import() -> None:
    own = [{"sourceNetwork": "VM Network", "destinationNetwork": "own"}]
    target = planned(
        a_mapping(7, networks=[network("nets/x")], storage=[storage()]),
        networkMapping=own,
        diskMapping=[{"sourceDisk": "disk-0", "busType": "sata"}],
    ).target
    assert target.mapping == UsedMapping(namespace="infra", name="dc1", generation=7)
    assert [(rule.destination, rule.shared) for rule in target.networks] == [
        ("default/own", False),
        ("nets/x", True),
    ]
    assert [(rule.storage_class, rule.shared) for rule in target.storage] == [("fast", True)]
    assert [rule.decides_storage for rule in target.disks] == [False]


def test_the_name_of_a_disk_is_its_label_and_never_its_id() -> None:
    disks = [{"source": {"name": "2000"}, "busType": "sata"}, {"source": {"id": "2001"}, "busType": "usb"}]
    found = planned(a_mapping(disks=disks)).target.disks
    assert [(rule.disk, rule.label) for rule in found] == [("", "2000"), ("2001", "")]


def test_without_a_mapping_the_request_is_as_it_was() -> None:
    text = planned(None, networkMapping=[{"sourceNetwork": "a", "destinationNetwork": "b"}]).to_json()
    assert not [word for word in ("shared", "vlan", "nicMac", '"mapping"') if word in text]


def test_a_wrong_mapping_refuses_the_import_beside_its_own_faults() -> None:
    with pytest.raises(Invalid) as caught:
        planned(a_mapping(networks=[network("")]), virtualMachineName="")
    assert [reason.split(" ")[0] for reason in caught.value.reasons] == [
        "spec.virtualMachineName",
        "ImportMapping",
    ]


@pytest.mark.parametrize(
    ("row", "decides"),
    [
        ({"sourceDisk": "disk-0"}, False),
        ({"sourceDisk": "disk-0", "storageClass": None}, False),
        ({"sourceDisk": "disk-0", "storageClass": ""}, True),
    ],
)
def test_an_empty_class_in_the_import_is_the_default_of_the_cluster(
    row: dict[str, Any], decides: bool
) -> None:
    with_mapping = planned(a_mapping(storage=[storage()]), diskMapping=[row]).target.disks
    assert [rule.decides_storage for rule in with_mapping] == [decides]
    assert [rule.decides_storage for rule in planned(None, diskMapping=[row]).target.disks] == [False]


@pytest.mark.parametrize(
    ("row", "attachment"),
    [
        ({"destinationNetwork": "b", "type": "multus"}, Attachment.NETWORK),
        ({"destinationNetwork": "b", "type": ""}, Attachment.NETWORK),
        ({"type": "pod"}, Attachment.POD),
        ({"type": "ignored", "destinationNetwork": ""}, Attachment.IGNORED),
    ],
)
def test_a_row_of_an_import_has_a_type(row: dict[str, Any], attachment: Attachment) -> None:
    (rule,) = planned(None, networkMapping=[{"sourceNetwork": "a", **row}]).target.networks
    assert rule.attachment is attachment
    assert rule.destination == ("default/b" if attachment is Attachment.NETWORK else "")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"sourceNetwork": "a", "type": "pod", "destinationNetwork": "b"}, "remove one of the two"),
        ({"type": "ignored"}, "with the type ignored has no sourceNetwork"),
        ({"sourceNetwork": "a", "type": "multus"}, "invalid destination network ''"),
    ],
)
def test_a_row_of_an_import_that_contradicts_itself(row: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        planned(None, networkMapping=[row])
    assert words in str(caught.value)


def test_a_class_of_the_mapping_that_must_be_pulled_decides_the_way() -> None:
    """Which disks get it is known only when the VM was described."""
    settings = Settings(target=TargetKind.KUBEVIRT, disks=WantedWay.AUTO, pull_classes=("shared",))
    assert planned(a_mapping(storage=[storage()]), settings).target.way is DiskWay.LAND
    assert planned(a_mapping(storage=[storage("ds", "shared")]), settings).target.way is DiskWay.PULL


def test_a_plain_volume_cannot_get_such_a_class_from_the_mapping() -> None:
    settings = Settings(target=TargetKind.HARVESTER, allow_volumes=True, pull_classes=("shared",))
    disk = {"sourceDisk": "disk-0", "as": "volume"}
    shared = a_mapping(storage=[storage("ds", "shared")])
    with pytest.raises(Invalid, match="write another storageClass into the row"):
        planned(shared, settings, diskMapping=[disk])
    made = planned(shared, settings, diskMapping=[{**disk, "storageClass": "fast"}])
    assert made.target.way is DiskWay.MIXED


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"name": ""}, "spec.importMapping.name is empty"),
        ({"name": "Dc 1"}, "spec.importMapping.name 'Dc 1' is not a valid name"),
        ({"name": "a", "namespace": "b/c"}, "spec.importMapping.namespace 'b/c' is not a valid namespace"),
    ],
)
def test_a_reference_that_no_object_can_have(reference: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        planned(None, importMapping=reference)
    assert words in str(caught.value)
