"""What `kubectl get` and `kubectl describe` print of an import, computed from recorded Workflows.

The Workflows are those of `tests/recorded`, which the real Argo wrote. Names of the test are replaced by
names that suit the tutorial. Statuses, columns and Events come from vmferry's own code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from controller.operator.act.transitions import events_between
from controller.operator.observe.facts import FINALIZER
from controller.operator.sources import check
from controller.operator.sources.check import SourceVerdict
from steps.model import names
from steps.model.kinds import API_VERSION
from steps.model.machine import Disk, Machine, Nic, NicModel, Power
from steps.model.mapping import shape
from steps.model.sources import SourceKind
from workflows.api.conditions import stamp
from workflows.api.crd import KINDS, Kind
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import VmwareSource
from workflows.api.status import ImportStatus, SourceStatus, Verification, WorkflowReference
from workflows.plan import plan
from workflows.settings import Settings
from workflows.status.reflect import PROGRESS, announce, reflect

RECORDED: Final = Path(__file__).parents[1] / "tests" / "recorded"
FIRST: Final = json.loads(min(RECORDED.glob("*.json")).read_text())["metadata"]
NAMES: Final = {FIRST["labels"][names.LABEL_NAMESPACE]: "shop", FIRST["labels"][names.LABEL_NAME]: "web-01"}
MIB: Final = 1 << 20
BEGAN: Final = datetime.fromisoformat(FIRST["creationTimestamp"]).astimezone(UTC)
"""When the controller made the Workflow."""
CREATED: Final = BEGAN - timedelta(seconds=2)
"""When the import was made."""
FROM: Final = "vmferry-controller"
_LABEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ACRONYMS: Final = ("API", "URL", "UID", "OSB", "GUID")
_TIME: Final = re.compile(r'"(?:started|finished)At": "([^"]+)"')

Json = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """An import at one moment, and the Events up to it: (seconds since the epoch, type, reason, message)."""

    status: ImportStatus
    now: datetime
    events: tuple[tuple[datetime, str, str, str], ...]


def moments() -> dict[str, Moment]:
    """The import at each recorded moment, by the name of the recording."""
    import_, machine = _import(), _machine()
    planned = plan(import_, _source(), Settings())
    made = shape(planned, machine)
    name = _renamed(FIRST["name"])
    workflow = WorkflowReference(name=name, namespace=FIRST["namespace"], generation=1)
    status = announce(import_, None, workflow, BEGAN)
    events = _events(ImportStatus(), status, BEGAN)
    found = {}
    for name, recorded in _recordings():
        now = _time_of(recorded)
        after = reflect(recorded, import_, status, now, shape=made, machine=machine)
        events += _events(status, after, now)
        if name == "2-exporting":  # the controller writes it when it has opened the gate
            said = "poweroff was approved (annotation written by kubectl-annotate)"
            events = (*events[:-1], (now, "Normal", "Approved", said), events[-1])
        status = after
        found[name] = Moment(status, now, events)
    return found


def get(moment: Moment, *, wide: bool = False) -> str:
    """What `kubectl get virtualmachineimport.migration` prints, with `-o wide` if so."""
    return _listed(_object(moment), KINDS[0], moment.now, wide=wide)


def get_source(verdict: SourceVerdict, *, wide: bool = False) -> str:
    """What `kubectl get vmwaresource.migration` prints after a check with that result."""
    now = CREATED + timedelta(seconds=12)
    status = check.status(verdict, SourceStatus(), 1, now, Verification()).to_document()
    metadata = {"name": "vcenter", "creationTimestamp": stamp(CREATED)}
    return _listed({"metadata": metadata, "status": status}, KINDS[1], now, wide=wide)


def _listed(raw: Json, kind: Kind, now: datetime, *, wide: bool) -> str:
    columns = [column for column in kind.columns if wide or not column.get("priority")]
    head = ["NAME", *(column["name"].upper() for column in columns)]
    row = [raw["metadata"]["name"], *(_cell(raw, column, now) for column in columns)]
    widths = [max(6, max(len(one), len(two)) + 3) for one, two in zip(head, row, strict=True)]
    lines = (
        "".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in (head, row)
    )
    return "\n".join(line.rstrip() for line in lines)


def describe(moment: Moment, *, only: Sequence[str] = ()) -> str:
    """What `kubectl describe` prints; with `only`, of the status just these fields, and the Events."""
    raw = _object(moment)
    status = {name: value for name, value in raw["status"].items() if not only or name in only}
    lines = [f"Name:\t{raw['metadata']['name']}", f"Namespace:\t{raw['metadata']['namespace']}"]
    notes = raw["metadata"]["annotations"]
    lines += ["Labels:\t<none>", f"Annotations:\t{PROGRESS}: {notes[PROGRESS]}"]
    lines += ["[...]", *_content({"status": status}, 0), *_told(moment)]
    return "\n".join(_aligned(lines))


def events(moment: Moment) -> str:
    """The Events that `kubectl describe` prints."""
    return "\n".join(_aligned(_told(moment)))


# --- the import


def _import() -> VirtualMachineImport:
    return VirtualMachineImport.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "VirtualMachineImport",
            "metadata": {
                "name": "web-01",
                "namespace": "shop",
                "uid": "123faa8c-d524-409a-8f3d-d3df12b6797d",
            },
            "spec": {
                "virtualMachineName": "web-01",
                "sourceCluster": {"kind": "VmwareSource", "name": "vcenter"},
                "networkMapping": [{"sourceNetwork": "VM Network", "destinationNetwork": "vlan1"}],
                "approvals": ["poweroff"],
            },
        }
    )


def _source() -> VmwareSource:
    return VmwareSource.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": str(SourceKind.VMWARE),
            "metadata": {"name": "vcenter", "namespace": "shop"},
            "spec": {"endpoint": "https://vcenter.example.com/sdk", "dc": "DC0"},
        }
    )


def _machine() -> Machine:
    disks = (
        Disk(id=f"disk-{number}", key=str(2000 + number), label=f"Hard disk {number + 1}", capacity=24 * MIB)
        for number in range(2)
    )
    return Machine(
        name="web-01",
        source_id="vm-22",
        path="/DC0/vm/web-01",
        vcpus=2,
        memory_mib=2048,
        power=Power.ON,
        disks=tuple(disks),
        nics=(Nic(id="nic-0", mac="00:50:56:9a:10:01", model=NicModel.VMXNET3, network="VM Network"),),
    )


def _recordings() -> Iterator[tuple[str, Json]]:
    for path in sorted(RECORDED.glob("*.json")):
        yield path.stem, json.loads(_renamed(path.read_text()))


def _renamed(text: str) -> str:
    for before, after in NAMES.items():
        text = text.replace(before, after)
    return text


def _time_of(recorded: Json) -> datetime:
    """A few seconds after the last thing that the Workflow shows."""
    last = max(_TIME.findall(json.dumps(recorded["status"])))
    return datetime.fromisoformat(last) + timedelta(seconds=2)


def _events(
    before: ImportStatus, after: ImportStatus, now: datetime
) -> tuple[tuple[datetime, str, str, str], ...]:
    found = events_between(before, after)
    return tuple((now, "Warning" if one.warning else "Normal", one.reason, one.message) for one in found)


def _object(moment: Moment) -> Json:
    import_ = _import()
    metadata = {
        "name": import_.metadata.name,
        "namespace": import_.metadata.namespace,
        "creationTimestamp": stamp(CREATED),
        "annotations": {PROGRESS: str(moment.status.percent)},
        "finalizers": [FINALIZER],
    }
    spec = import_.spec.model_dump(by_alias=True, mode="json", exclude_defaults=True)
    return {"metadata": metadata, "spec": spec, "status": moment.status.to_document()}


# --- as kubectl prints it


def _cell(raw: Json, column: Mapping[str, Any], now: datetime) -> str:
    value: Any = raw
    for part in column["jsonPath"].strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if column["type"] == "date":
        return age(now - datetime.fromisoformat(value))
    return "" if value is None else str(value)


def age(passed: timedelta) -> str:
    """As kubectl shortens a duration (apimachinery pkg/util/duration, HumanDuration)."""
    seconds = int(passed.total_seconds())
    minutes = seconds // 60
    if seconds < 120:
        return f"{seconds}s"
    return f"{minutes}m{seconds % 60}s" if minutes < 10 and seconds % 60 else f"{minutes}m"


def _label(field: str) -> str:
    """As kubectl titles a field (kubectl pkg/describe, smartLabelFor)."""
    parts = _LABEL.findall(field)
    return " ".join(part.upper() if part.upper() in _ACRONYMS else part.title() for part in parts)


def _content(content: Mapping[str, Any], level: int) -> Iterator[str]:
    indent = "  " * level
    for field in sorted(content):
        value = content[field]
        if isinstance(value, dict):
            yield f"{indent}{_label(field)}:"
            yield from _content(value, level + 1)
        elif isinstance(value, list):
            yield f"{indent}{_label(field)}:"
            for child in value:
                yield from _content(child, level + 1)
        else:
            yield f"{indent}{_label(field)}:\t{'<nil>' if value is None else value}"


def _told(moment: Moment) -> list[str]:
    lines = ["Events:", "  Type\tReason\tAge\tFrom\tMessage", "  ----\t------\t----\t----\t-------"]
    for when, kind, reason, message in moment.events:
        lines.append(f"  {kind}\t{reason}\t{age(moment.now - when)}\t{FROM}\t{message}")
    return lines


def _aligned(lines: Sequence[str]) -> Iterator[str]:
    """Go's tabwriter: cells of neighbouring lines have one width, and two spaces between them."""
    block: list[list[str]] = []
    for line in [*lines, ""]:
        cells = line.split("\t")
        if block and len(cells) != len(block[0]):
            yield from _block(block)
            block = []
        if len(cells) == 1:
            yield line
        else:
            block.append(cells)


def _block(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[number]) for row in rows) + 2 for number in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield ("".join(cells) + row[-1]).rstrip()
