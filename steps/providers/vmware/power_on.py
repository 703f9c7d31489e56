"""Starting a VM again: once, and never one that runs."""

from __future__ import annotations

import time
from typing import Any, Final

import structlog
from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power
from steps.providers.vmware import collector, describe, faults, tasks
from steps.providers.vmware.session import Session

log = structlog.get_logger()

POLL_SECONDS: Final = 1.0
START_SECONDS: Final = 300.0
"""How long a host may take to start the VM."""
_AUTOMATIC: Final = "fullyAutomated"
"""DrsBehavior: vCenter places the VM on a host by itself, also in a cluster where DRS only recommends."""
_MANUAL: Final = "power it on in the vSphere Client"


def power_on(session: Session, machine: Machine, datacenter: Any) -> None:
    """Start the VM and wait until it is on; a VM that is on is not touched.

    `datacenter` is the managed object of the VM's datacenter.

    Raises:
        StepError: POWER, if it does not start, with vSphere's reason or question; DENIED; NOT_FOUND.
    """
    vm, what = session.vm(machine), f"cannot power on {machine.path or machine.name}"
    if is_on(session, machine):
        log.info("the machine is on already", vm=machine.name)
        return
    log.info("powering on", vm=machine.name)
    with faults.as_step_error(what, session.endpoint):
        try:
            task = _request_start(session, vm, datacenter, what)
        except vim.fault.InvalidPowerState:  # somebody else was faster
            task = None
    _await_on(session, machine, task, what)


def is_on(session: Session, machine: Machine) -> bool:
    """Whether the VM runs now. Raises StepError: NOT_FOUND if it was deleted."""
    return describe.power(collector.read_one(session, session.vm(machine), "runtime.powerState")) is Power.ON


def _request_start(session: Session, vm: Any, datacenter: Any, what: str) -> Any:
    """The running task.

    A stand-alone host starts its VM by PowerOnVM_Task. On a vCenter that method waits for a person in a
    cluster where DRS only recommends a host; PowerOnMultiVM_Task takes the answer with the request.
    """
    if session.is_host:
        return vm.PowerOnVM_Task()
    option: Any = vim.option.OptionValue
    automatic = option(key="OverrideAutomationLevel", value=_AUTOMATIC)
    request = datacenter.PowerOnMultiVM_Task(vm=[vm], option=[automatic])
    late = StepError(Exit.UNREACHABLE, what, "vCenter did not start it in time", _MANUAL)
    result = tasks.await_result(session, request, what, seconds=START_SECONDS, late=late)
    refused = [entry.fault for entry in (result.notAttempted or ())]
    if refused:
        raise faults.from_fault(what, refused[0])
    attempted = [entry.task for entry in (result.attempted or ()) if entry.task is not None]
    return attempted[0] if attempted else None


def _await_on(session: Session, machine: Machine, task: Any, what: str) -> None:
    """Wait until the VM is on. A question of vSphere is left to a person: a wrong answer may lose data."""
    deadline = time.monotonic() + START_SECONDS
    vm = session.vm(machine)
    while True:
        row = collector.read_one(session, vm, "runtime.powerState", "runtime.question")
        if describe.power(row) is Power.ON:
            return
        if (question := row.get("runtime.question")) is not None:
            raise StepError(
                Exit.POWER, what, f"vSphere asks: {question.text}", "answer it in the vSphere Client"
            )
        if task is not None:
            state = collector.read_one(session, task, "info.state", "info.error")
            if state.get("info.state") == "error":
                raise faults.from_fault(what, state.get("info.error"))
        if time.monotonic() > deadline:
            raise StepError(Exit.POWER, what, "it is not on yet", _MANUAL)
        session.stop.sleep(POLL_SECONDS)
