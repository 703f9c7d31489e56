"""Shutdown and start of a VM: never twice, and never where nothing is to be done; gracefully on request.

    running ──annotation──> running ──stop──> stopping ──guest, or end of the grace period──> off
                                                                                              │
                                                            annotation with the place <───────┘

`stop` lets KubeVirt delete the instance: the guest gets an ACPI request, and is ended after the grace period.
For the run strategies Always and Once it also sets Halted, so the annotation keeps what is to be restored.
KubeVirt shows that a shutdown was requested (`history.State.is_stopping`): an attempt after a killed one does
not ask again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import PowerPlan
from steps.providers.kubevirt import api, faults, find, history
from steps.providers.kubevirt.api import Api, path_of
from steps.providers.kubevirt.history import Shutdown, State

log = structlog.get_logger()

POLL_SECONDS: Final = 2.0
CLOCK: Final = time.monotonic
STOP_SECONDS: Final = 300.0
"""How long KubeVirt may need after the grace period; if it needs longer, the step is retried."""
REST_SECONDS: Final = 20.0
"""How long an instance that has ended must stay, if it depends on the version of KubeVirt whether it does."""
START_SECONDS: Final = 600.0
"""How long a start may take: volumes are attached, and an image may be pulled."""
_CONFLICT: Final = 409


def power_off(source: Api, run: str, machine: Machine, policy: PowerPlan, prove: Callable[[], None]) -> None:
    """Shut down the VM by the policy; a VM that is off is not touched.

    Hours may have passed since preflight: before stopping a VM, `prove` proves again what must work after
    that.

    Raises:
        StepError: POWER, if the policy forbids it; UNREACHABLE, if it is not off in time; NOT_FOUND, if it
            was deleted; the errors of `prove`.
    """
    what = f"cannot shut down the VM {machine.path}"
    grace = 0 if policy.force else policy.grace_seconds
    end, is_asked, rests_since = CLOCK() + grace + STOP_SECONDS, False, None
    while not (now := history.state(source, machine)).is_settled:
        rests_since = (rests_since or CLOCK()) if now.may_rest else None
        if rests_since is not None and CLOCK() - rests_since >= REST_SECONDS:
            break
        if now.is_on and not now.is_stopping and not is_asked:
            if policy.never_force:
                raise _always_ends(what)
            prove()
            if _ask(source, run, machine, now, grace):
                is_asked, end = True, CLOCK() + grace + STOP_SECONDS
        if CLOCK() >= end:
            shown = now.vm.text("status", "printableStatus") or now.phase
            raise StepError(
                Exit.UNREACHABLE,
                what,
                f"it is still {shown} after {grace + STOP_SECONDS:g} s",
                "see the events of the VirtualMachineInstance at the source",
            )
        source.stop.sleep(POLL_SECONDS)
    _note_rest(source, run, machine, now)


def power_on(source: Api, machine: Machine) -> None:
    """Start the VM as it ran before, and wait until it runs; one that runs is not touched.

    Raises:
        StepError: POWER, if it does not run in time; NOT_FOUND.
    """
    what = f"cannot start the VM {machine.path}"
    end, is_asked = CLOCK() + START_SECONDS, False
    while (now := history.state(source, machine)).phase != "Running":
        if not now.is_on and not is_asked:
            log.info("starting the VM", vm=machine.name)
            is_asked = _start(source, machine, now)
        if CLOCK() > end:
            shown = now.vm.text("status", "printableStatus") or now.phase or "off"
            raise StepError(Exit.POWER, what, f"it is still {shown} after {START_SECONDS:g} s", _BY_HAND)
        source.stop.sleep(POLL_SECONDS)
    if now.vm.annotation(history.SHUTDOWN):
        _patch(source, machine, {"metadata": {"annotations": {history.SHUTDOWN: None}}})


def is_on(source: Api, machine: Machine) -> bool:
    """Whether the VM runs now, or is about to. Raises StepError: NOT_FOUND, if it was deleted."""
    return history.state(source, machine).is_on


def _ask(source: Api, run: str, machine: Machine, now: State, grace: int) -> bool:
    """Note the shutdown and ask for it; False if something changed the VM: then it is looked at again."""
    uid = "" if now.instance is None else now.instance.uid
    known = Shutdown.of(now.vm)
    # A killed attempt may have noted this shutdown before: then the run strategy may be Halted by now.
    strategy = known.run_strategy if known is not None and known.instance == uid else now.run_strategy
    noted = Shutdown(run, uid, strategy)
    log.info("asking KubeVirt to stop the VM", vm=machine.name, run_strategy=strategy, grace_seconds=grace)
    try:
        if known != noted:
            _patch(source, machine, _with_version(now, {"metadata": {"annotations": noted.annotation()}}))
        _subresource(source, machine, "stop", {"gracePeriod": grace})
    except faults.RefusedError as error:
        if error.status != _CONFLICT:
            raise
        log.info("the VM was changed at the same time", why=error.text)
        return False
    return True


def _note_rest(source: Api, run: str, machine: Machine, now: State) -> None:
    """Note where a VM came to rest that this run has shut down."""
    noted = Shutdown.of(now.vm)
    if noted is None or noted.run != run or noted.position == now.position:
        return
    if noted.position:  # somebody has started and stopped it since
        return
    change = {"metadata": {"annotations": noted.at(now.position).annotation()}}
    _patch(source, machine, change)


def _start(source: Api, machine: Machine, now: State) -> bool:
    """Ask for a start with the run strategy that the VM had; False if it must be asked for again."""
    noted = Shutdown.of(now.vm)
    wanted = noted.run_strategy if noted is not None else ""
    try:
        if now.run_strategy == "Halted" and wanted in history.STARTS:
            has_flag = now.vm.has("spec", "running")  # such a VM has no run strategy, and knows only Always
            spec: dict[str, Any] = {"running": True} if has_flag else {"runStrategy": wanted}
            _patch(source, machine, _with_version(now, {"spec": spec}))
        else:
            _subresource(source, machine, "start", {})
    except faults.RefusedError as error:
        if error.status != _CONFLICT:
            raise
        log.info("the VM was changed at the same time", why=error.text)
        return False
    return True


def _with_version(now: State, change: dict[str, Any]) -> dict[str, Any]:
    """A change that is refused if the VM is not as it was read."""
    metadata = {
        **change.get("metadata", {}),
        "resourceVersion": now.vm.required("metadata", "resourceVersion"),
    }
    return {**change, "metadata": metadata}


def _patch(source: Api, machine: Machine, change: dict[str, Any]) -> None:
    namespace, name = find.place_of(machine)
    source.patch(f"change the VM {machine.path}", path_of(api.VMS, namespace, name), change)


def _subresource(source: Api, machine: Machine, action: str, options: dict[str, Any]) -> None:
    namespace, name = find.place_of(machine)
    path = path_of(api.SUBRESOURCES, namespace, name, action)
    source.put(f"{action} the VM {machine.path}", path, options)


def _always_ends(what: str) -> StepError:
    return StepError(
        Exit.POWER,
        what,
        "KubeVirt always ends a guest after its grace period, and this import forbids that",
        "shut it down by hand, then retry",
    )


_BY_HAND: Final = "see the events of the VM at the source, then start it by hand"
