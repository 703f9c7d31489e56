"""cleanup: release what this import still holds at its source, whether it succeeded or failed.

With `spec.onFailure: restorePower` it also starts the VM there again, if the import failed after it had shut
it down and the VM at the target is stopped (`steps.halt`). With --undo it does so however the import ended.
In a cluster it also deletes the scratch volumes after a success. After a failure a retry resumes from them.

Runs as the exit handler. It succeeds even if it could not release everything, and logs the rest: a failing
exit handler would fail an import that has succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence

from steps.model.contract import StepError
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.model.restore import RESTORED, SUCCEEDED, Restored, RestoreState, must_restore
from steps.providers import Access, Provider, connect
from steps.restoring import not_halted, restore_power
from steps.runtime.outcome import add_options
from steps.runtime.program import MACHINE, Arguments, Context, log, run

EPILOG = """\
examples:
  python -m steps.cleanup
  python -m steps.cleanup --status Succeeded
  python -m steps.cleanup --outcome Failed --halt Succeeded
  python -m steps.cleanup --undo true --halt Succeeded
"""
HALTED = frozenset({SUCCEEDED, "Skipped"})
"""Phases of `halt` after which no VM of the import runs at the target; skipped where a target runs none."""


def arguments() -> Arguments:
    parser = Arguments("cleanup", __doc__ or "", epilog=EPILOG)
    parser.add_argument(
        "--status", metavar="PHASE", help="in a cluster: final phase of the Workflow ({{workflow.status}})"
    )
    add_options(parser)
    parser.add_argument(
        "--halt",
        metavar="PHASE",
        default="",
        help="how halt ended; only after it the VM is started",
    )
    return parser


def body(context: Context) -> None:
    plan = context.plan()
    restored = release_source(context, plan)
    restored.save(context.outputs / RESTORED)
    if context.arguments.status:
        release_scratch(context, plan)


def release_source(context: Context, plan: Plan) -> Restored:
    """Release what is held, then start the VM again if that is due: a lease would block its start."""
    access = Access(
        plan=plan.source,
        credentials=context.credentials,
        stop=context.stop,
        run=plan.run,
        step="cleanup",
        state_folder=context.scratch,
    )
    try:
        with connect(access) as provider:
            leftovers = provider.release()
            for leftover in leftovers:
                log.warning(f"left at the source: {leftover}")
            return restore(context, plan, provider)
    except StepError as error:
        log.warning(f"could not check the source for leftovers: {error}")
        return _unreached(context, plan, error)


def restore(context: Context, plan: Plan, provider: Provider) -> Restored:
    """Start the VM again at its source, if that is due and no VM runs at the target."""
    options = context.arguments
    machine, is_undo = _machine(context), options.undo == "true"
    if machine is None or not must_restore(plan, options.outcome, undo=is_undo):
        return Restored()
    if options.halt not in HALTED:
        return not_halted(machine)
    return restore_power(provider, plan, machine, context.stop, undo=is_undo)


def _unreached(context: Context, plan: Plan, error: StepError) -> Restored:
    """The result when the source could not be asked: it is not known whether the VM is to be started."""
    options, machine = context.arguments, _machine(context)
    if machine is None or not must_restore(plan, options.outcome, undo=options.undo == "true"):
        return Restored()
    message = f"{machine.path or machine.name} may be off at its source, which could not be asked: {error}"
    return Restored(state=RestoreState.FAILED, message=message)


def _machine(context: Context) -> Machine | None:
    """The VM as preflight found it; None if preflight found none, so that nothing was shut down."""
    return context.machine() if (context.request / MACHINE).exists() else None


def release_scratch(context: Context, plan: Plan) -> None:
    from steps.runtime import kubeapi  # noqa: PLC0415 - the embedded runner has no cluster and no client for one
    from steps.targets.harvester.run_objects import RunObjects  # noqa: PLC0415

    if context.arguments.status != SUCCEEDED:
        log.info(f"the import ended as {context.arguments.status}: its scratch volumes are kept for a retry")
        return
    try:
        leftovers = RunObjects(plan, kubeapi.connect(context.stop), kubeapi.own_namespace()).delete_all()
    except StepError as error:
        leftovers = [str(error)]
    for leftover in leftovers:
        log.warning(f"left in the cluster: {leftover}")


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
