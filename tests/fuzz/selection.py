"""Fuzzes the VMs that a check pod selects for a plan: from the lines of its log to the status of the plan."""

from __future__ import annotations

import base64
import gzip
import json
import random
from pathlib import Path
from typing import Any, Final

from steps.model import selecting
from steps.model.log_text import from_lines, to_lines
from steps.model.naming import is_namespace
from steps.model.packing import text_of
from steps.model.selecting import Found, pack, select, unpack
from steps.model.sources import SourceKind
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.engine import change
from tests.unit.builders import a_disk, a_machine
from tests.unit.workflows.migration.plans import a_plan, a_vm
from workflows.api.migration_plan import PlannedVm, VmPhase
from workflows.migration.vms import merged

_NAMES: Final = (
    "web",
    "Web 01",
    "db",
    "",
    ".",
    "-",
    "\u202e",
    "a" * 600,
    "ä",
    "x" * 63,
    "vm-1",
    "{{a}}",
    "*",
)
_PATTERNS: Final = ("web", "*", "w?b", "[wd]*", "vm-1", "/DC0/vm/*", "*a*a*a*a*a*a*b", "[", "", "!")
Json = dict[str, Any]


class Selection:
    """Results of a selection, and any log instead of one."""

    name = "plan-selection"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        if rng.random() < 0.3:
            return Case(self.name, json.dumps(_wish(rng)).encode(), {"kind": "select"})
        document: Json = {"vms": [_vm(rng) for _ in range(rng.randrange(6))]}
        if rng.random() < 0.3:
            document["unused"] = [rng.choice(_NAMES)]
        changes = rng.choice((0, 1, 2, 5))
        for _ in range(changes):
            change(rng, document)
        if rng.random() < 0.03:
            document = _too_large(rng, document)
        raw = bytearray(json.dumps(document).encode())
        if rng.random() < 0.1:
            mutate.any_bytes(rng, raw)
        packed = text_of(bytes(raw))
        if rng.random() < 0.2:
            packed = _spoilt(rng, packed)
        return Case(self.name, _log(rng, packed).encode(errors="replace"), {"kind": "log"})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        if case.options["kind"] == "select":
            return "selected" if _selected(json.loads(case.data)).vms else "nothing selected"
        found = unpack(from_lines(case.data.decode(errors="replace")))
        vms = merged(
            "prod", a_plan().spec, found.vms, _recorded(), lambda vm: [disk.key for disk in vm.disks]
        )
        names = [vm.import_ for vm in vms]
        if len(set(names)) != len(names) or not all(map(is_namespace, names)):
            raise Wrong(f"names of imports: {names}")
        targets = [vm.target for vm in vms if vm.target]
        if not all(map(is_namespace, targets)):
            raise Wrong(f"names of VMs: {targets}")
        return "VMs" if vms else "no VM"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """What is accepted is packed and read again without a loss, and another reader finds the same VMs."""
        del folder, outcome
        if case.options["kind"] == "select":
            found = _selected(json.loads(case.data))
            return _again(found)
        text = from_lines(case.data.decode(errors="replace"))
        found = unpack(text)
        plain = json.loads(gzip.decompress(base64.b64decode(text)))
        listed = [str(vm.get("id")) for vm in plain["vms"]]
        if listed != [vm.id for vm in found.vms]:
            raise Wrong(f"{listed} is read as {found.vms}")
        return _again(found)


def _again(found: Found) -> str:
    if unpack(from_lines("\n".join(to_lines(pack(found))))) != found:
        raise Wrong("the VMs differ after they were packed")
    return "equal"


def _vm(rng: random.Random) -> Json:
    vm: Json = {
        "row": rng.randrange(3),
        "id": rng.choice((f"vm-{rng.randrange(9)}", *_NAMES[:3])),
        "vm": rng.choice(_NAMES[:3]),
        "name": rng.choice(_NAMES),
    }
    if rng.random() < 0.4:
        vm["host"] = rng.choice(("esx-1", "h" * 300))
    if rng.random() < 0.4:
        vm["disks"] = [{"id": "disk-0", "key": rng.choice(("fast", "slow"))}]
    return vm


def _too_large(rng: random.Random, document: Json) -> Json:
    vm = _vm(rng) | {"row": 0}
    if rng.random() < 0.5:
        return {"vms": [vm | {"id": f"vm-{n}"} for n in range(selecting.MOST_VMS + 1)]}
    return {**document, "unused": ["\0" * selecting.LONGEST_DOCUMENT]}


def _spoilt(rng: random.Random, packed: str) -> str:
    """A text that `pack` does not make."""
    kind = rng.randrange(5)
    if kind == 0:
        return text_of(b"x" * (selecting.LONGEST_DOCUMENT + rng.randrange(3)))  # a bomb
    if kind == 1:
        return base64.b64encode(base64.b64decode(packed) + b"more").decode()
    if kind == 2:
        return packed[: rng.randrange(len(packed))]
    if kind == 3:
        return base64.b64encode(rng.randbytes(60)).decode()
    return packed * (selecting.LONGEST_OUTPUT // len(packed) + 1)


def _log(rng: random.Random, packed: str) -> str:
    """The log of the pod, with other lines, a line that is missing, or the lines of another attempt."""
    lines = to_lines(packed)
    if rng.random() < 0.1 and lines:
        lines.pop(rng.randrange(len(lines)))
    if rng.random() < 0.1:
        lines += [f"vmferry-document {rng.randrange(1200)}/{rng.randrange(1200)} AAAA"]
    if rng.random() < 0.3:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(("", "{}", "vmferry-document", "x" * 9000)))
    if rng.random() < 0.1:
        lines = [*to_lines(text_of(b"{}")), *lines]
    return "\n".join(lines)


def _recorded() -> list[PlannedVm]:
    """VMs of an earlier selection: some have started, others not."""
    return [a_vm(1, VmPhase.SUCCEEDED), a_vm(2), a_vm(3, VmPhase.RUNNING, 2)]


def _wish(rng: random.Random) -> Json:
    """An inventory and the rows that select from it."""
    machine: Json = {"name": "web", "id": "vm-1", "path": "/DC0/vm/prod/web"}
    machines = [machine | {"name": rng.choice(_NAMES), "id": f"vm-{n}"} for n in range(rng.randrange(5))]
    for one in machines:
        if rng.random() < 0.05:
            one["id"] = "x" * selecting.LONGEST_REFERENCE
        one["path"] = rng.choice(("", f"/DC0/vm/{rng.choice(_NAMES)}/{one['name']}"))
        one["isTemplate"] = rng.random() < 0.2
    rows = [
        {
            "name": rng.choice(("", *_PATTERNS)),
            "folder": rng.choice(("", "", "prod", *_PATTERNS)),
            "tags": rng.sample(_PATTERNS, rng.choice((0, 0, 1, 2))),
        }
        for _ in range(rng.randrange(4))
    ]
    return {
        "machines": machines,
        "rows": rows,
        "exclude": rng.sample(_PATTERNS, rng.choice((0, 0, 1))),
        "kind": rng.choice([str(kind) for kind in SourceKind]),
        "tagsUnknown": rng.choice(("", "", "no tags here")),
        "times": selecting.MOST_VMS + 1 if rng.random() < 0.03 else 1,
    }


def _selected(wish: Json) -> Found:
    template = selecting._TEMPLATE
    machines = [
        a_machine(
            name=one["name"],
            source_id=f"{one['id']}-{number}",
            path=one["path"],
            disks=(a_disk(0),),
            concerns=({"severity": "block", "code": template, "message": "x"},) if one["isTemplate"] else (),
        )
        for one in wish["machines"]
        for number in range(wish["times"])
    ]
    rows = selecting.Rows(rows=tuple(wish["rows"]), exclude=tuple(wish["exclude"]))
    found = select(machines, SourceKind(wish["kind"]), rows, wish["tagsUnknown"])
    ids = [vm.id for vm in found.vms]
    if len(set(ids)) != len(ids):
        raise Wrong("a VM is selected twice")
    return found
