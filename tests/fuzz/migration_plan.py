"""Fuzzes a MigrationPlan of a tenant: what is wrong with it, and the decisions for one with no fault."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.kinds import API_VERSION
from steps.model.naming import is_namespace
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.engine import change
from tests.unit.workflows.migration.plans import a_vm
from tests.unit.workflows.migration.test_rules import GOOD, NOT_IN_THE_SCHEMA, WRONG
from workflows import texts
from workflows.api.migration_plan import (
    MigrationPlan,
    MigrationPlanStatus,
    PlannedVm,
    PlanPhase,
    VmPhase,
)
from workflows.migration import imports, report, rules, schedule, windows
from workflows.migration.schedule import IN_FLIGHT, InFlight, Moment
from workflows.migration.vms import with_waves

Json = dict[str, Any]
NOW: Final = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
"""The night in which summer time begins in Berlin."""
_ZONES: Final = {
    name: ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia")
}
_WORDS: Final = (
    *("22:00", "24:00", "00:00", "2:00", "02:30", "2026-03-29", "9999-12-31", "0001-01-01", "2026-13-01"),
    *(
        "Mon",
        "Sun",
        "Funday",
        "20%",
        "0%",
        "101%",
        "٣٪",
        "finishWave",
        "stopStarting",
        *_ZONES,
        "../../etc/x",
    ),
    *("*", "[", "", "web-*", "\x1b[2J", "\u202e", "x" * 3000, "\ud800", "{{a}}", "fast", "-", "VmwareSource"),
)
_MISTAKES: Final[tuple[Json, ...]] = (
    {"exclude": [""]},
    {"vms": [{"tags": [""]}]},
    {"vms": [{"tags": ["a"] * 17}]},
    {"vms": [{"name": "x" * 3000}]},
    {"windows": [{"start": "22:00", "end": "23:00"}] * 33},
    {"windows": [{"dates": ["2020-01-01"], "start": "22:00", "end": "23:00"}]},
)
"""What random changes seldom make; the last one is no mistake, but never opens again."""
_NUMBERS: Final = (-1, 0, 1, 2, 40, 1000, 1001, 1 << 31, 10**400, True, 0.5)


class _Zones:
    """The time zones of a computer, without its files."""

    def __call__(self, name: str) -> ZoneInfo:
        if name not in _ZONES:
            raise ZoneInfoNotFoundError(f"No time zone found with key {name}")
        return _ZONES[name]


vars(windows)["ZoneInfo"] = _Zones()


class Plan:
    """Plans with every field, and with any mistake."""

    name = "migration-plan"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        spec: Json = json.loads(json.dumps(GOOD))
        for name in rng.sample(sorted(spec), rng.randrange(len(spec))):
            if name not in ("sourceCluster", "vms"):
                del spec[name]
        _vary(rng, spec)
        if rng.random() < 0.3:
            wrong = rng.choice((*_MISTAKES, *(one for one, _ in (*WRONG, *NOT_IN_THE_SCHEMA))))
            spec.update(json.loads(json.dumps(wrong)))
        for _ in range(rng.choice((0, 0, 0, 1, 1, 3))):
            _change(rng, spec)
        data = bytearray(json.dumps(spec).encode())
        if rng.random() < 0.03:
            mutate.any_bytes(rng, data)
        state = [
            [rng.choice(list(VmPhase)), rng.randrange(1, 5), rng.choice(("", "a")), rng.random() < 0.3]
            for _ in range(rng.randrange(7))
        ]
        options = {
            "name": rng.choice(("prod", "prod", "prod", "p" * 41)),
            "state": state,
            "preferred": rng.choice(("", "", "", "MigrationPlan urgent")),
            "minutes": rng.choice((0, 5, 90)),
            "others": rng.choice((0, 1, 9)),
        }
        return Case(
            self.name, bytes(data), {**options, "hours": rng.randrange(200), "approved": rng.randrange(5)}
        )

    def run(self, case: Case, folder: Path) -> str:
        del folder
        plan = _read(case)
        found = list(rules.reasons(plan))
        if found:
            line = texts.message(tuple(found))
            if len(line) > texts.MOST_CHARACTERS + len("...") or not line.isprintable():
                raise Wrong(f"a message that is long or not printable: {line[:200]!r}")
            return "refused"
        _decide(case, plan)
        return "a plan"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        del case, folder, outcome
        return ""


def _read(case: Case) -> MigrationPlan:
    """The plan as the controller reads it. Raises StepError for one that the API server would refuse."""
    metadata = {"name": case.options["name"], "namespace": "shop", "uid": "uid"}
    try:
        spec = json.loads(case.data)
        document = {"apiVersion": API_VERSION, "kind": "MigrationPlan", "metadata": metadata, "spec": spec}
        return MigrationPlan.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise StepError(Exit.INVALID, "the plan is not valid", first_error(error)) from None
    except ValueError as error:
        raise StepError(Exit.INVALID, "the plan is not JSON", str(error)) from None


def _decide(case: Case, plan: MigrationPlan) -> None:
    """Decide in some state, and check what must always hold."""
    now = NOW + timedelta(hours=case.options["hours"])
    vms = with_waves(
        plan.spec, [_vm(n, len(plan.spec.vms), *row) for n, row in enumerate(case.options["state"])]
    )
    others = case.options["others"]
    moment = Moment(
        now,
        vms,
        approved_wave=case.options["approved"],
        wave_ended=now - timedelta(minutes=case.options["minutes"]),
        others=InFlight({"a": others}, {"fast": others}),
        preferred=case.options["preferred"],
    )
    found = schedule.decide(plan.spec, moment)
    by_name = {vm.import_: vm for vm in vms}
    new = [by_name[name] for name in (*found.start, *found.retry)]
    is_open = windows.is_open(plan.spec.windows, now)
    if new and (plan.spec.suspend or not is_open):
        raise Wrong("an import starts that must not")
    if len({vm.import_ for vm in new}) != len(new) or any(vm.phase in IN_FLIGHT for vm in new):
        raise Wrong("an import starts twice")
    opens = windows.opens(plan.spec.windows, now)
    if opens is not None and opens <= now:
        raise Wrong(f"a window opens at {opens}, before {now}")
    if found.seconds is not None and found.seconds < 0:
        raise Wrong(f"{found.seconds} s")
    if found.phase is PlanPhase.SUCCEEDED and any(vm.phase != VmPhase.SUCCEEDED for vm in vms):
        raise Wrong("a plan succeeds without all of its VMs")
    status = report.with_schedule(MigrationPlanStatus(), vms, found, now)
    if not status.message.isprintable():
        raise Wrong(f"a message that is not printable: {status.message!r}")
    for vm in new:
        made = imports.manifest(plan, vm)
        if not is_namespace(made["metadata"]["name"]) or made["spec"]["virtualMachineName"] != vm.vm:
            raise Wrong(f"the import {made['metadata']}")
        json.dumps(made)


def _vm(number: int, rows: int, phase: str, wave: int, host: str, retry: bool) -> PlannedVm:
    more = {"host": host, "retry": retry and phase == VmPhase.FAILED, "row": number % rows}
    return a_vm(number, VmPhase(phase), wave, storage_classes=("fast",), **more)


def _vary(rng: random.Random, spec: Json) -> None:
    """Another plan that is right."""
    if rng.random() < 0.3:
        spec["vms"] = [{"name": f"w{n}*", "wave": n + 1} for n in range(rng.randrange(1, 4))]
        if "waves" in spec:
            spec["waves"].pop("size", None)
    if "waves" in spec:
        spec["waves"]["failureThreshold"] = rng.choice((1, 2, "50%"))
        spec["waves"]["atThreshold"] = rng.choice(("finishWave", "stopStarting"))
        spec["waves"]["approval"] = rng.random() < 0.3
    if "windows" in spec and rng.random() < 0.7:
        start, end = rng.choice(("02:30", "22:00", "00:00")), rng.choice(("02:45", "06:00", "00:00"))
        spec["windows"] = [{"start": start, "end": end, "timeZone": rng.choice(sorted(_ZONES))}]
        if rng.random() < 0.3:
            spec["windows"][0]["dates"] = ["2026-03-29"]
    spec["suspend"] = rng.random() < 0.2


def _change(rng: random.Random, spec: Json) -> None:
    if rng.random() < 0.4:
        change(rng, spec)
        return
    places = [(spec, name) for name in spec]
    for value in list(spec.values()):
        parts = value if isinstance(value, list) else [value]
        places += [(part, key) for part in parts if isinstance(part, dict) for key in part]
    container, key = rng.choice(places)
    container[key] = rng.choice((*_WORDS, *_NUMBERS, [rng.choice(_WORDS)], None, {}))
