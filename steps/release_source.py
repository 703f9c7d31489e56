"""release-source: release what this import still holds at the source, whether it succeeded or failed.

After a success it marks the VM there, if `spec.markSource` asks for it, and an undo removes the mark.
With `spec.onFailure: restorePower` it also starts the VM there again, if the import failed after it had shut
it down and the VM at the target is stopped (`steps.halt`). With --undo it does so however the import ended.

Runs at the end, as a part of the exit handler. It has the source's credentials and no rights on the cluster.
It succeeds even if it could not release everything: a failing exit handler would fail an import that has
succeeded. The output `left` has the rest, and the controller runs this step again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.marking import mark_source, unmark_source
from steps.model import leftovers
from steps.model.contract import NoAnswerError, StepError
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.model.restore import RESTORED, SUCCEEDED, Restored, RestoreState
from steps.model.source_mark import MarkState
from steps.providers import Provider
from steps.providers.outage import with_source
from steps.restoring import not_halted, restore_power
from steps.runtime.outcome import add_options, has_succeeded, is_restored, is_undo
from steps.runtime.program import MACHINE, Arguments, Context, log, run

EPILOG = """\
examples:
  python -m steps.release_source
  python -m steps.release_source --outcome Failed --halt Succeeded
  python -m steps.release_source --undo true --halt Succeeded

results among the outputs: left, a list of what is left at the source; null if it could not be asked;
restored.json, whether the VM was started again there, and whether it is marked
"""
HALTED: Final = frozenset({SUCCEEDED, "Skipped"})
"""Phases of `halt` after which no VM of the import runs at the target; skipped where a target runs none."""


def arguments() -> Arguments:
    parser = Arguments("release_source", __doc__ or "", epilog=EPILOG)
    add_options(parser)
    parser.add_argument(
        "--halt",
        metavar="PHASE",
        default="",
        help="how halt ended; only after it the VM is started",
    )
    return parser


def body(context: Context) -> None:
    left, restored = release(context)
    (context.outputs / leftovers.OUTPUT).write_text(leftovers.to_text(left), encoding="utf-8")
    restored.save(context.outputs / RESTORED)


def release(context: Context) -> tuple[list[str] | None, Restored]:
    """Release what the source holds, then start the VM again if that is due: a lease would block its start.

    Returns what is left, None if the source could not be asked, and what came of the start.
    """

    def use(provider: Provider) -> tuple[list[str], Restored]:
        return provider.release(), _restore(context, provider)

    try:
        left, restored = with_source(context, "release-source", use)
    except StepError as error:
        log.warning(f"could not check the source for leftovers: {error}")
        return None, _not_asked(context, error)
    for leftover in left:
        log.warning(f"left at the source: {leftover}")
    return left, restored


def _restore(context: Context, provider: Provider) -> Restored:
    """Mark the VM at its source after a success; else start it again, if that is due."""
    plan, machine = context.plan(), _machine(context)
    if machine is None:
        return Restored()
    if has_succeeded(context):
        return mark_source(provider, plan.mark, machine) if plan.mark.is_wanted else Restored()
    if not is_restored(context, plan):
        return Restored()
    if context.arguments.halt not in HALTED:  # a VM of the import may run at the target
        return not_halted(machine)
    return _start_again(context, provider, plan, machine)


def _start_again(context: Context, provider: Provider, plan: Plan, machine: Machine) -> Restored:
    """Start the VM again; an undo removes its mark before, because it may be without its NICs."""
    unmarked, undo = Restored(), is_undo(context)
    try:
        if undo and plan.mark.is_wanted:
            unmarked = unmark_source(provider, plan.mark, machine)
    except NoAnswerError:
        raise
    except StepError as error:
        return _still_marked(machine, error)
    restored = restore_power(provider, plan, machine, context.stop, undo=undo)
    return restored.model_copy(update={"mark": unmarked.mark, "mark_message": unmarked.mark_message})


def _still_marked(machine: Machine, error: StepError) -> Restored:
    name = machine.path or machine.name
    message = f"{name} is not started again at its source, because its mark could not be removed: {error}"
    return Restored(state=RestoreState.FAILED, message=message)


def _not_asked(context: Context, error: StepError) -> Restored:
    """The result when the source could not be asked: it is not known whether the VM is to be started."""
    plan, machine = context.plan(), _machine(context)
    if machine is not None and has_succeeded(context) and plan.mark.is_wanted:
        name = machine.path or machine.name
        message = f"the source could not be asked, so it is not known whether {name} is marked there"
        return Restored(mark=MarkState.FAILED, mark_message=f"{message}: {error}")
    if machine is None or not is_restored(context, plan):
        return Restored()
    message = f"{machine.path or machine.name} may be off at its source, which could not be asked: {error}"
    return Restored(state=RestoreState.FAILED, message=message)


def _machine(context: Context) -> Machine | None:
    """The VM as preflight found it; None if preflight found none, so that nothing was shut down."""
    return context.machine() if (context.request / MACHINE).exists() else None


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
