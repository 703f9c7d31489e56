"""Fuzzes the spec of an ImportMapping: tenants write it, and the controller reads it for every import."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from steps.model.machine import Disk, Nic
from steps.model.matching import resolutions, rule_of_nic, storage_choice, unused_rows
from steps.model.plan import DiskRule, TargetKind, TargetPlan
from tests.fuzz.case import Case, Wrong
from tests.unit.builders import a_disk, a_machine, a_nic
from workflows import import_mapping
from workflows.api.mapping import ImportMapping

_NAMES: Final = ("VM Network", "DC0/network/VM Network", "DMZ", "a/b", "network-7", "dvportgroup-42", "ssd")
_MACS: Final = ("00:50:56:aa:bb:01", "00-50-56-AA-BB-01", "00:50:56:aa:bb:02", "00:50:56")
_HOSTILE: Final = (
    *("", " ", "/", "..", "../..", "a//b", "A", "x" * 600, "\x1b[2J", "\u202e", "\0", "é", "*", "$(id)"),
    *("-", "a.", "a..b", "pod", "ignored", "null", "{{ .Values }}"),
)
_OTHER: Final[tuple[Any, ...]] = (None, 0, -1, 4095, 1 << 64, 1.5, True, [], {}, ["a"], {"a": "b"})
_DESTINATIONS: Final = ("vlan1", "infra/vlan1", "a.b-c", *_HOSTILE)
_VLANS: Final = (1, 12, 4094, 0, 4095, -5)


Spec = dict[str, Any]


def _row(name: str, row: Any) -> Callable[[Spec], None]:
    """Adds one row to a list."""

    def add(spec: Spec) -> None:
        spec[name] = [*(spec[name] if isinstance(spec[name], list) else []), row]

    return add


def _too_many(spec: Spec) -> None:
    spec["networks"] = [{"source": {"name": f"n{number}"}, "type": "pod"} for number in range(300)]


def _too_large(spec: Spec) -> None:
    rows = (
        {"source": {"id": f"{number}" + "\U0001f600" * 300}, "storageClass": "a"} for number in range(250)
    )
    spec["storage"] = list(rows)


_MISTAKES: Final[tuple[Callable[[Spec], None], ...]] = (
    *(_too_many, _too_large),
    _row("networks", {"source": {"name": "x" * 600}, "type": "pod"}),
    _row("networks", {"source": {}, "type": "pod"}),
    _row("networks", {"source": {"name": "a", "id": "b"}, "type": "pod"}),
    _row("networks", {"source": {"name": ""}, "type": "pod"}),
    _row("networks", {"source": {"vlan": 4095}, "type": "pod"}),
    _row("networks", {"source": {"mac": "00:50"}, "type": "pod"}),
    _row("networks", {"source": {"name": "only"}}),
    _row("networks", {"source": {"name": "only"}, "destinationNetwork": "a/b/c"}),
    _row("networks", {"source": {"name": "only"}, "destinationNetwork": "a", "type": "pod"}),
    _row("networks", {"source": {"name": "only"}, "type": "ignored", "mac": "new"}),
    _row("storage", {"source": {"name": "only"}}),
    _row("storage", {"source": {"name": "only"}, "storageClass": "A b"}),
    _row("disks", {"source": {"name": "only"}}),
    _row("disks", {"source": {"name": "only"}, "storageClass": "-"}),
)
"""Rows with exactly one mistake, which random changes seldom make."""


class ImportMappings:
    """Specs with rows that repeat and contradict each other, and with any mistake."""

    name = "import-mapping"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        spec: dict[str, Any] = {
            "networks": [_network(rng) for _ in range(rng.randrange(6))],
            "storage": [_storage(rng) for _ in range(rng.randrange(4))],
            "disks": [_disk(rng) for _ in range(rng.randrange(4))],
        }
        for _ in range(rng.choice((0, 0, 0, 0, 1, 3))):
            _spoil(rng, spec)
        if rng.random() < 0.4:
            rng.choice(_MISTAKES)(spec)
        return Case(self.name, json.dumps(spec).encode())

    def run(self, case: Case, folder: Path) -> str:
        del folder
        mapping = _read(case)
        if mapping is None:
            return "refused by the model"
        reasons = list(import_mapping.reasons(mapping))
        if reasons:
            if any(len(reason) > 400 or not reason.isprintable() for reason in reasons):
                raise Wrong("a reason is long, or has characters that are not printable")
            return "refused"
        return "rows"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """Another implementation, straight from the JSON, finds the same row for each NIC and disk."""
        del folder
        mapping = _read(case)
        if outcome != "rows" or mapping is None:
            return ""
        spec, target = json.loads(case.data), import_mapping.extended(_TARGET, mapping)
        for nic in _NICS:
            found = rule_of_nic(nic, target)
            expected = _expected_network(nic, spec["networks"] or [])
            if (found.destination, str(found.attachment)) != expected if found else expected is not None:
                raise Wrong(f"{nic.network}: {found} instead of {expected}")
        for disk in _DISKS:
            choice = storage_choice(disk, target)
            wanted = _expected_class(disk, spec)
            if choice.rule.storage_class != wanted:
                raise Wrong(f"{disk.label}: {choice} instead of {wanted}")
            own = DiskRule(disk=disk.id, storage_class="own")
            for change in ({"storage_class": "own"}, {"disks": (*target.disks, own)}):
                overruled = target.model_copy(update=change)
                if storage_choice(disk, overruled).rule.storage_class != "own":
                    raise Wrong(f"{disk.label}: the import does not overrule the mapping with {change}")
        machine = a_machine(nics=_NICS, disks=_DISKS)
        shown = [str(found) for found in resolutions(machine, target)] + list(unused_rows(machine, target))
        if not all(text.isprintable() for text in shown):
            raise Wrong("a text has characters that are not printable")
        return "equal"


_TARGET: Final = TargetPlan(kind=TargetKind.DIRECTORY, namespace="shop")
_NICS: Final[tuple[Nic, ...]] = (
    a_nic(0, network="VM Network", network_id="network-7", vlan=12, mac="00:50:56:aa:bb:01"),
    a_nic(1, network="DMZ", network_id="dvportgroup-42", vlan=None),
    a_nic(2, network="", network_id="", vlan=1),
)
_DISKS: Final[tuple[Disk, ...]] = (
    a_disk(0, label="DMZ", storage="ssd", storage_id="network-7"),
    a_disk(1, label="", uuid="a/b"),
)


def _read(case: Case) -> ImportMapping | None:
    metadata = {"name": "fuzz", "namespace": "infra"}
    head = {"apiVersion": "migration.harvesterhci.io/v1beta1", "kind": "ImportMapping", "metadata": metadata}
    try:
        return ImportMapping.model_validate(
            {**head, "spec": json.loads(case.data)}, by_alias=True, by_name=False
        )
    except ValidationError:
        return None


def _expected_network(nic: Nic, rows: list[Any]) -> tuple[str, str] | None:
    def rank(source: dict[str, Any]) -> int | None:
        mac = (source.get("mac") or "").lower().replace("-", ":")
        tests = (
            bool(mac) and mac == nic.mac,
            bool(nic.network_id) and source.get("id") == nic.network_id,
            bool(nic.network) and source.get("name") == nic.network,
            bool(nic.network) and (source.get("name") or "").split("/")[-1] == nic.network,
            nic.vlan is not None and source.get("vlan") == nic.vlan,
        )
        return tests.index(True) if True in tests else None

    fitting = [(rank(row["source"]), number) for number, row in enumerate(rows)]
    best = min(((place, number) for place, number in fitting if place is not None), default=None)
    if best is None:
        return None
    row = rows[best[1]]
    type_ = row.get("type") or "multus"
    name = row.get("destinationNetwork") or ""
    return (name if "/" in name or not name else f"shop/{name}", {"multus": "network"}.get(type_, type_))


def _expected_class(disk: Disk, spec: dict[str, Any]) -> str:
    ids = (disk.id, disk.key, disk.uuid)
    candidates: list[tuple[int, int, str]] = []
    for number, row in enumerate(spec["disks"] or []):
        if row.get("storageClass") is None:
            continue
        source = row["source"]
        if source.get("id") and source["id"] in ids:
            candidates.append((0, number, row["storageClass"]))
        elif source.get("name") and source["name"] == disk.label:
            candidates.append((1, number, row["storageClass"]))
    for number, row in enumerate(spec["storage"] or []):
        source = row["source"]
        if source.get("id") and source["id"] == disk.storage_id:
            candidates.append((2, number, row["storageClass"]))
        elif source.get("name") and source["name"] == disk.storage:
            candidates.append((3, number, row["storageClass"]))
    return min(candidates)[2] if candidates else ""


def _network(rng: random.Random) -> dict[str, Any]:
    field = rng.choice(("name", "name", "id", "vlan", "mac"))
    values: tuple[Any, ...] = {"vlan": _VLANS, "mac": _MACS}.get(field, _NAMES)
    source = {field: rng.choice(values)}
    if rng.random() < 0.6:
        return {"source": source, "destinationNetwork": rng.choice(_DESTINATIONS[:3])}
    return {"source": source, "type": rng.choice(("pod", "ignored"))}


def _storage(rng: random.Random) -> dict[str, Any]:
    return {
        "source": {rng.choice(("name", "id")): rng.choice(_NAMES)},
        "storageClass": rng.choice(("", "fast", "a.b")),
    }


def _disk(rng: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"source": {rng.choice(("name", "id")): rng.choice((*_NAMES, "disk-0", "2000"))}}
    if rng.random() < 0.7:
        row["storageClass"] = rng.choice(("", "fast"))
    if rng.random() < 0.5 or len(row) == 1:
        row["busType"] = rng.choice(("virtio", "sata"))
    return row


def _spoil(rng: random.Random, spec: dict[str, Any]) -> None:
    """Change one value somewhere: to another type, to a hostile text, to nothing, or repeat its row."""
    name = rng.choice(list(spec))
    rows = spec[name]
    if not isinstance(rows, list) or not rows or rng.random() < 0.1:
        spec[name] = rng.choice(_OTHER)
        return
    row = rng.choice(rows)
    if not isinstance(row, dict) or rng.random() < 0.2:
        rows.append(row)
        return
    inside = row["source"] if isinstance(row.get("source"), dict) and rng.random() < 0.5 else row
    field = rng.choice(
        [*inside, "name", "storageClass", "destinationNetwork", rng.choice(string.ascii_letters)]
    )
    inside[field] = rng.choice((*_HOSTILE, *_OTHER, *_DESTINATIONS))
