"""The power history of a server in Nova's instance actions, which record a start also when it is off again.

Nova lists the newest action first (nova/db/main/api.py, actions_get: by creation, then id), and keeps the
actions as long as the server. So everything above an action in the list is newer, whatever the clocks of
Nova's hosts.
"""

from __future__ import annotations

from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.power import PowerMark
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.power import OFF

HARMLESS: Final = frozenset(
    {
        "createImage",
        "backup",
        "lock",
        "unlock",
        "attach_interface",
        "detach_interface",
        "migrate",
        "confirmResize",
        "revertResize",
    }
)
"""Actions that leave a stopped server stopped and its disks as they are (nova/compute/instance_actions.py).

Everything else counts as a start, also an action of a later Nova. A stop counts too: a server that is stopped
was running; Nova stops one by itself that was started behind its back (nova/compute/manager.py,
_sync_instance_power_state).
"""
STOP: Final = "stop"
_POLICY: Final = (
    "allow the account os_compute_api:os-instance-actions:list, which a project's reader has by default"
)


def mark(cloud: Cloud, machine: Machine) -> PowerMark:
    """The present moment.

    Raises:
        StepError: DENIED, if the account cannot see the actions of the server.
    """
    actions = _actions(cloud, machine)
    if not actions:
        raise StepError(Exit.DENIED, _unproven(machine), "Nova lists no action of it", _POLICY)
    newest = actions[0]
    when = str(newest.start_time or "")
    return PowerMark(time=when, position=str(newest.request_id), position_time=when, scope="vm")


def started_since(cloud: Cloud, machine: Machine, mark: PowerMark) -> str | None:
    """Why the server may have run since the mark; None if it is proved that it has not.

    Raises:
        StepError: NOT_FOUND, if it was deleted; DENIED, if the account cannot see its actions.
    """
    server = cloud.read(f"read server {machine.name}", lambda: cloud.compute.get_server(machine.source_id))
    newer = _newer(cloud, machine, mark)
    if newer is None:
        return "Nova no longer lists the action with which the import compares: its database was replaced"
    changes = [action for action in newer if action.action not in HARMLESS]
    if changes:
        first = changes[-1]
        return f"user {first.user_id} asked Nova for {first.action!r} at {first.start_time} UTC"
    return None if server.status == OFF else f"it is {server.status}"


def shut_down_since(cloud: Cloud, machine: Machine, mark: PowerMark) -> bool:
    """Whether the last action since the mark that changes the server is a stop by this user."""
    newer = _newer(cloud, machine, mark) or []
    last = next((action for action in newer if action.action not in HARMLESS), None)
    if last is None or last.action != STOP:
        return False
    user = cloud.read("read the user's id", cloud.connection.session.get_user_id)
    return bool(last.user_id == user)


def _newer(cloud: Cloud, machine: Machine, mark: PowerMark) -> list[Any] | None:
    """The actions since the mark, newest first; None if Nova does not list the mark's own action any more."""
    actions = _actions(cloud, machine)
    positions = [str(action.request_id) for action in actions]
    return actions[: positions.index(mark.position)] if mark.position in positions else None


def _actions(cloud: Cloud, machine: Machine) -> list[Any]:
    try:
        return cloud.read(
            f"read the actions of server {machine.name}",
            lambda: list(cloud.compute.server_actions(machine.source_id)),
        )
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        raise StepError(Exit.DENIED, _unproven(machine), str(error), _POLICY) from error


def _unproven(machine: Machine) -> str:
    return f"it cannot be proved later that {machine.name} was not started"
