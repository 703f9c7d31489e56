"""preflight: find the VM at its source, describe it, and report every reason why it cannot be imported.

Changes nothing, and has no rights on the cluster. If it fails, correct the request and run the import
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from steps.model.concerns import CPU_ASSUMED, MEMORY_ASSUMED, about, bounded, merged, warn, with_short_notes
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.document import write_atomically
from steps.model.limits import exceeded
from steps.model.machine import Concern, Machine, Power, Severity
from steps.model.machine_output import MACHINE_OUTPUT, to_output
from steps.model.mapping import (
    blocking,
    check_disks,
    check_shared,
    check_volume_names,
    shape,
    without_skipped,
)
from steps.model.naming import target_name
from steps.model.networks import check_cards, check_mapped, check_networks
from steps.model.plan import Plan, Unplugged
from steps.model.source_tags import wanted_tags
from steps.providers import Provider
from steps.providers.outage import with_source
from steps.runtime.program import MACHINE, Arguments, Context, log, run

DISKS = "disks.json"
_SKIPPED: Final = ("quota",)
"""The space that copies need depends on how many disks are copied at once, which a person may know better."""


EPILOG = """\
example:
  python -m steps.preflight

results among the outputs: machine.json (the VM at its source), machine (the same, packed for Argo),
disks.json (the ids of the disks)
"""


def arguments() -> Arguments:
    return Arguments("preflight", __doc__ or "", epilog=EPILOG)


def body(context: Context) -> None:
    plan = context.plan()

    def use(provider: Provider) -> Machine:
        machine = examine(provider, plan)
        return machine.model_copy(update={"mark": provider.power_mark(machine)})

    machine = with_source(context, "preflight", use)
    for concern in machine.concerns:
        log.warning(str(concern), code=concern.code, severity=concern.severity)
    refuse(plan, machine)
    write_atomically(context.outputs / MACHINE_OUTPUT, to_output(machine))
    machine.save(context.outputs / MACHINE)
    write_atomically(context.outputs / DISKS, json.dumps([disk.id for disk in machine.disks]))


def examine(provider: Provider, plan: Plan) -> Machine:
    """The VM with all concerns: those of the source, and those of the request."""
    found = with_short_notes(provider.describe(plan.vm, plan.folder))
    machine = without_skipped(plan.target, _with_tags(provider, plan, found))
    network_concerns = (
        [] if plan.skip_preflight_checks else check_networks(plan.target, machine.nics, provider.networks())
    )
    mapping_concerns = (
        *check_disks(plan.target, found),
        *check_volume_names(plan.target, machine),
        *check_shared(plan.target, machine),
        *check_cards(plan.target, machine.nics),
        *check_mapped(plan.target, machine.nics),
    )
    concerns = merged(
        _without_unplugged(plan, _with_skipped_checks(plan, without_set_sizes(plan, machine.concerns))),
        about(machine),
        exceeded(machine, plan.limits),
        network_concerns,
        mapping_concerns,
        _force_concerns(plan, machine),
    )
    marked = _mark_concerns(provider, plan, machine)
    changes = {"concerns": bounded((*concerns, *marked)), "absent_tag": _absent_tag(provider, plan, machine)}
    return machine.model_copy(update=changes)


def _with_tags(provider: Provider, plan: Plan, machine: Machine) -> Machine:
    """The VM with the tags that the import asks for; only then the source is asked for them."""
    rules = plan.target.settings.tag_labels
    if not rules:
        return machine
    return machine.model_copy(update={"tags": wanted_tags(provider.tags(machine), rules)})


def _with_skipped_checks(plan: Plan, concerns: Iterable[Concern]) -> Iterator[Concern]:
    """The source's own concerns; `skipPreflightChecks` turns some blocking ones into warnings."""
    for concern in concerns:
        is_skipped = plan.skip_preflight_checks and concern.code in _SKIPPED
        yield concern.model_copy(update={"severity": Severity.WARN}) if is_skipped else concern


def _without_unplugged(plan: Plan, concerns: Iterable[Concern]) -> Iterator[Concern]:
    """The concerns without what the source says about the links of unplugged NICs that are left out."""
    left_out = plan.target.unplugged is Unplugged.LEFT_OUT
    return (concern for concern in concerns if not (left_out and concern.code == "nic.plugged"))


def _force_concerns(plan: Plan, machine: Machine) -> Iterator[Concern]:
    """Whether `forcePowerOff` is set for a source that has nothing of the kind. The VM is off in any case."""
    why = plan.source.kind.no_hard_off
    if plan.power.force and why and machine.power is Power.ON:
        yield warn(
            "force-power-off",
            f"forcePowerOff has no effect at {plan.source.kind}: {why}",
            "remove it; if the guest does not react, end it by hand before the import",
        )


def _mark_concerns(provider: Provider, plan: Plan, machine: Machine) -> Iterator[Concern]:
    """Why the VM could not be marked after the import: only a warning, as the import can succeed."""
    if not plan.mark.is_wanted:
        return
    for why in provider.marker(machine).lacks(plan.mark):
        yield warn(
            "source-mark", f"it cannot be marked as imported: {why}", "correct it before the import ends"
        )


def _absent_tag(provider: Provider, plan: Plan, machine: Machine) -> str:
    """The tag of the mark if the VM does not have it now; "" also if that is not known."""
    tag = plan.mark.tag
    if not tag:
        return ""
    try:
        return "" if provider.marker(machine).has_tag(tag) else tag
    except NoAnswerError:
        raise
    except StepError as error:
        log.warning("the VM may have the tag already, so an undo will keep it", tag=tag, why=str(error))
        return ""


def without_set_sizes(plan: Plan, concerns: Iterable[Concern]) -> Iterator[Concern]:
    """The concerns without those about sizes that the source lacks and the import sets."""
    is_set = {CPU_ASSUMED: plan.target.vcpus is not None, MEMORY_ASSUMED: plan.target.memory_mib is not None}
    return (concern for concern in concerns if not is_set.get(concern.code, False))


def refusal_reasons(plan: Plan, machine: Machine) -> Iterator[tuple[Exit, str]]:
    """Every reason why this VM cannot be imported as requested, each with its exit code."""
    try:
        target_name(plan, machine)
    except StepError as error:
        yield error.code, str(error)
    if not machine.disks:
        yield Exit.UNSUPPORTED, f"{machine.name} has no disks: there is nothing to import"
    if not plan.skip_preflight_checks:
        yield from power_reasons(plan, machine)
    for concern in blocking(machine.concerns):
        if concern.code != "no-disks":
            yield exit_code_of(concern), str(concern)


def power_reasons(plan: Plan, machine: Machine) -> Iterator[tuple[Exit, str]]:
    """Why the VM cannot be shut down in the way that the request allows."""
    can_force = plan.power.force or plan.power.force_without_tools
    if machine.power is Power.ON and not can_force and not machine.tools_running:
        yield (
            Exit.POWER,
            f"{machine.name} is on and VMware Tools do not run in it, so it cannot be shut down gracefully; "
            "shut it down by hand, start VMware Tools in it, or set spec.powerOffWithoutGuestTools: true",
        )


def exit_code_of(concern: Concern) -> Exit:
    """The exit code of a concern: UNSUPPORTED for a feature of the VM, else a specific one."""
    codes = {
        "network-unknown": Exit.NOT_FOUND,
        "disk-unknown": Exit.NOT_FOUND,
        "network-ambiguous": Exit.AMBIGUOUS,
        "disk-ambiguous": Exit.AMBIGUOUS,
        "suspended": Exit.POWER,
        "privilege-missing": Exit.DENIED,
        "quota": Exit.NO_SPACE,
    }
    return codes.get(concern.code, Exit.UNSUPPORTED)


def refuse(plan: Plan, machine: Machine) -> None:
    """Report all reasons in one error, with the exit code of the first.

    Raises:
        StepError: there is at least one reason.
    """
    reasons = list(refusal_reasons(plan, machine))
    if reasons:
        raise StepError(
            reasons[0][0], f"{machine.name} cannot be imported", " | ".join(text for _, text in reasons)
        )
    for concern in shape(plan, machine).concerns:
        if concern.severity is Severity.WARN and concern not in machine.concerns:
            log.warning(str(concern), code=concern.code, severity=concern.severity)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
