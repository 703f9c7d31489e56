"""The VMs of a plan after a selection: the names of their imports, and their waves. Pure.

A VM whose import was created keeps its names and its wave whatever the source says later. A VM that
has not started and is not selected any more leaves the list. A VM that is selected for the first time is put
where its row is, but never into a wave that has begun.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.naming import normalise
from steps.model.selecting import FoundVm
from workflows.api.migration_plan import NO_ROW, MigrationPlanSpec, PlannedVm, VmPhase

LONGEST_NAME: Final = 63
_SUFFIX: Final = 8
"""Characters of the digest that keeps two names apart."""


def merged(
    plan: str,
    spec: MigrationPlanSpec,
    found: Sequence[FoundVm],
    recorded: Sequence[PlannedVm],
    classes: Callable[[FoundVm], Iterable[str]],
) -> tuple[PlannedVm, ...]:
    """The VMs of the plan named `plan` after a selection; `classes`: the storage classes of a VM's disks.

    Raises:
        StepError: AMBIGUOUS, if several VMs have one ID.
    """
    _refuse_doubles(found)
    before = {vm.id: vm for vm in recorded}
    selected = {vm.id for vm in found}
    unselected = [vm for vm in recorded if is_started(vm) and vm.id not in selected]
    kept = [vm.model_copy(update={"row": NO_ROW}) for vm in unselected]
    taken = {name for vm in recorded for name in (vm.import_, vm.target) if name}
    stems = _stems(plan, [vm for vm in found if vm.id not in before], recorded)
    rows = list(kept)
    for vm in found:
        old = before.get(vm.id)
        fresh = {"row": vm.row, "host": vm.host, "storage_classes": tuple(sorted(set(classes(vm))))}
        if old is not None:
            changes = {"row": vm.row} if is_started(old) else {**fresh, "vm": vm.vm}
            rows.append(old.model_copy(update=changes))
            continue
        stem = next(one for one in stems(vm) if import_name(plan, one, vm.id) not in taken)
        name = import_name(plan, stem, vm.id)
        taken |= {name, stem}
        target = "" if stem == normalise(vm.name) else stem
        rows.append(
            PlannedVm(id=vm.id, vm=vm.vm, import_=name, target=target, phase=VmPhase.PENDING, **fresh)
        )
    return with_waves(spec, rows)


def _refuse_doubles(found: Sequence[FoundVm]) -> None:
    """A list from a hostile source: an ID is what keeps VMs and the names of their imports apart."""
    for vm_id, count in Counter(vm.id for vm in found).items():
        if count > 1:
            raise StepError(Exit.AMBIGUOUS, f"several VMs have the ID {vm_id}", remedy="check the source")


def is_started(vm: PlannedVm) -> bool:
    """Whether the import of a VM was created."""
    return bool(vm.uid) or vm.phase != VmPhase.PENDING


def import_name(plan: str, stem: str, vm_id: str) -> str:
    """The name of an import: those of the plan and the VM; a digest replaces what is too long."""
    name = f"{plan}-{stem}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - _SUFFIX - 1].rstrip('-.')}-{_digest(vm_id)[:_SUFFIX]}"


def _stems(
    plan: str, new: Sequence[FoundVm], recorded: Sequence[PlannedVm]
) -> Callable[[FoundVm], Iterator[str]]:
    """The names to try for a VM: its own if no other VM of the plan has it, then some with a suffix."""
    same = Counter(normalise(vm.name) for vm in new)
    used = {vm.import_ for vm in recorded} | {vm.target for vm in recorded}

    def stems(vm: FoundVm) -> Iterator[str]:
        name = normalise(vm.name)
        if same[name] == 1 and import_name(plan, name, vm.id) not in used:
            yield name
        short = normalise(vm.id)
        suffixes = (short if len(short) <= _SUFFIX + 4 else _digest(vm.id)[:_SUFFIX], *_longer(vm.id))
        yield from (f"{name[: LONGEST_NAME - 1 - len(suffix)].rstrip('-')}-{suffix}" for suffix in suffixes)

    return stems


def _longer(vm_id: str) -> Iterator[str]:
    digest = _digest(vm_id)
    yield from (digest[:length] for length in range(_SUFFIX, 50))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def with_waves(spec: MigrationPlanSpec, vms: Collection[PlannedVm]) -> tuple[PlannedVm, ...]:
    """The VMs with their waves, sorted by wave; the order within a wave stays.

    The last wave that has begun keeps its VMs. Those of later waves are divided again.
    """
    begun = max((vm.wave for vm in vms if is_started(vm)), default=0)
    later = [vm for vm in vms if not is_started(vm) and not (begun and vm.wave == begun)]
    if any(row.wave is not None for row in spec.vms):
        wave_of = dict(enumerate(row.wave or 1 for row in spec.vms))
        numbers = [max(wave_of.get(vm.row, 1), begun) for vm in later]
    else:
        size = (spec.waves.size if spec.waves else None) or max(len(later), 1)
        numbers = [begun + 1 + number // size for number in range(len(later))]
    of = {vm.id: wave for vm, wave in zip(later, numbers, strict=True)}
    placed = [vm.model_copy(update={"wave": of[vm.id]}) if vm.id in of else vm for vm in vms]
    return tuple(sorted(placed, key=lambda vm: vm.wave))
