"""What the engine does with VMs: shutdown, stop, start, with the refusals of its own commands."""

from __future__ import annotations

from typing import Final

from tests.real.ovirt.state import HOST_NAME, RefusedError, State, Vm, now, seconds

_RUNNING: Final = {"up", "powering_down", "powering_up", "migrating", "wait_for_launch", "reboot_in_progress"}
_STOPPABLE: Final = _RUNNING | {"paused", "not_responding", "suspended"}
_UNAUTHORISED: Final = "[User is not authorized to perform this action.]"


def is_down(vm: Vm) -> bool:
    """Whether a transfer may read the disks of this VM, as far as its status goes."""
    return vm.status == "down"


def shut_down(state: State, vm: Vm) -> str:
    """Ask the guest to shut down; one without ACPI or not up is stopped. Returns the job's ID.

    Raises:
        RefusedError: as a real engine refuses it.
    """
    _permit(state, "shut_down")
    _stoppable(vm, "shutdown")
    vm.shutdowns += 1
    if vm.status != "up" or not vm.described.acpi:
        _end(state, vm, 76, "was powered off ungracefully by")
        return state.job(f"Shutting down VM {vm.described.name}")
    after = "up" if vm.described.ignores_shutdown else "down"
    vm.status, vm.later = "powering_down", [(seconds() + vm.described.shutdown_seconds, after)]
    who = f"{state.described.username}-authz"
    text = f"VM shutdown initiated by {who} on VM {vm.described.name} (Host: {HOST_NAME})."
    state.tell(73, text, vm=vm.id, user=state.account)
    return state.job(f"Shutting down VM {vm.described.name}")


def stop(state: State, vm: Vm) -> str:
    """Power a VM off. Returns the job's ID.

    Raises:
        RefusedError: as a real engine refuses it.
    """
    _permit(state, "stop")
    _stoppable(vm, "stop")
    vm.stops += 1
    _end(state, vm, 33, "powered off by")
    return state.job(f"Powering off VM {vm.described.name}")


def start(state: State, vm: Vm) -> str:
    """Start a VM. Returns the job's ID.

    Raises:
        RefusedError: as a real engine refuses it.
    """
    _permit(state, "run")
    if vm.status not in {"down", "suspended", "paused"}:
        status = vm.status.replace("_", " ").title()
        raise RefusedError(409, f"[Cannot run VM because the VM is in {status} status.]")
    refuse_locked("run VM", [disk.alias for disk in vm.disks if disk.status == "locked"])
    vm.starts += 1
    half = vm.described.start_seconds / 2
    vm.status = "wait_for_launch"
    vm.later = [(seconds() + half, "powering_up"), (seconds() + 2 * half, "up")]
    vm.started = now()
    state.tell(32, f"VM {vm.described.name} started on Host {HOST_NAME}", vm=vm.id, user=state.account)
    return state.job(f"Launching VM {vm.described.name}")


def tick(state: State) -> None:
    """Carry out the changes that are due."""
    for vm in state.vms.values():
        while vm.later and vm.later[0][0] <= seconds():
            _, vm.status = vm.later.pop(0)
            if vm.status == "down":
                vm.stopped = now()
                state.tell(61, f"VM {vm.described.name} is down. Exited normally", vm=vm.id)


def refuse_illegal(action: str, aliases: list[str]) -> None:
    """A real engine files this under internal errors, hence the status."""
    if aliases:
        text = (
            f"[Cannot {action}. The following attached disks are in ILLEGAL status: {', '.join(aliases)}"
            " - please remove them and try again.]"
        )
        raise RefusedError(500, text)


def refuse_locked(action: str, aliases: list[str]) -> None:
    if aliases:
        text = (
            f"[Cannot {action}: The following disks are locked: {', '.join(aliases)}."
            " Please try again in a few minutes.]"
        )
        raise RefusedError(409, text)


def _permit(state: State, permission: str) -> None:
    if permission in state.lacks:
        raise RefusedError(403, _UNAUTHORISED)


def permit_transfer(state: State) -> None:
    _permit(state, "disk")


def _stoppable(vm: Vm, action: str) -> None:
    if vm.status in {"saving_state", "restoring_state"}:
        text = "VM is in saving/restoring state.\n-Please try again when the VM is either up or down."
        raise RefusedError(409, f"[Cannot {action} VM. {text}]")
    if vm.status not in _STOPPABLE:
        raise RefusedError(409, f"[Cannot {action} VM. VM is not running.]")


def _end(state: State, vm: Vm, code: int, text: str) -> None:
    delay = 0.0 if vm.status == "suspended" else vm.described.stop_seconds
    vm.status, vm.later = "powering_down", [(seconds() + delay, "down")]
    who = f"{state.described.username}-authz"
    words = f"VM {vm.described.name} {text} {who} (Host: {HOST_NAME})."
    state.tell(code, words, vm=vm.id, user=state.account)
