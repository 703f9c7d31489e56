"""Shutdown and start of a server: each requested once, and never where nothing is to be done."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.mapping import blocking
from steps.model.plan import PowerPlan
from steps.providers.openstack import quotas
from steps.providers.openstack.cloud import Cloud, check_image_service
from steps.providers.openstack.concerns import volume_concerns
from steps.providers.openstack.describe import ROOT
from steps.providers.openstack.waiting import CLOCK, POLL_SECONDS

log = structlog.get_logger()

OFF: Final = "SHUTOFF"
ON: Final = "ACTIVE"
START_SECONDS: Final = 300.0
"""How long Nova may take to start a server."""
SLACK_SECONDS: Final = 300.0
"""Over the time of grace: Nova gives a guest `os_shutdown_timeout` of its image, or 60 s, then ends it
(nova.conf, shutdown_timeout)."""


def power_off(cloud: Cloud, run: str, machine: Machine, policy: PowerPlan) -> None:
    """Stop the server and wait until it is off.

    Hours may have passed since preflight: before stopping a server, this proves again what must work later.

    Nova sets `task_state` before it answers os-stop (nova/compute/api.py, stop), so that an attempt after a
    killed one sees that the server is stopping and does not ask again.

    Raises:
        StepError: POWER, if its status does not allow a stop; UNREACHABLE, if it is not off in time;
            UNSUPPORTED, if a volume cannot be copied; NO_SPACE, if the quota is too small for the copies.
    """
    what = f"cannot stop server {machine.name}"
    end, is_requested = CLOCK() + policy.grace_seconds + SLACK_SECONDS, False
    while (server := _read_server(cloud, machine)).status != OFF:
        if server.status != ON:
            raise StepError(Exit.POWER, what, f"it is {server.status}", "bring it to ACTIVE or SHUTOFF")
        if not server.task_state:
            if is_requested:
                raise StepError(
                    Exit.UNREACHABLE,
                    what,
                    "Nova tried, but it is still ACTIVE",
                    "check the server's action log",
                )
            _check_export_possible(cloud, run, machine, what)
            _request_stop(cloud, server, what)
            is_requested = True
        if CLOCK() > end:
            raise StepError(Exit.UNREACHABLE, what, f"it is still {server.task_state or server.status}")
        cloud.stop.sleep(POLL_SECONDS)


def power_on(cloud: Cloud, machine: Machine) -> None:
    """Start the server and wait until it is ACTIVE; one that is ACTIVE is not touched.

    Raises:
        StepError: POWER, if its status does not allow a start, or it is not ACTIVE in time.
    """
    what = f"cannot start server {machine.name}"
    end, is_requested = CLOCK() + START_SECONDS, False
    while (server := _read_server(cloud, machine)).status != ON:
        if not server.task_state:
            if server.status != OFF or is_requested:
                why = f"it is {server.status}" + (
                    ", although Nova was asked to start it" if is_requested else ""
                )
                raise StepError(Exit.POWER, what, why, "check the server's action log, then start it by hand")
            _request_start(cloud, server, what)
            is_requested = True
        if CLOCK() > end:
            raise StepError(Exit.POWER, what, f"it is still {server.task_state or server.status}")
        cloud.stop.sleep(POLL_SECONDS)


def is_on(cloud: Cloud, machine: Machine) -> bool:
    """Whether the server runs now. Raises StepError: NOT_FOUND if it was deleted."""
    return bool(_read_server(cloud, machine).status == ON)


def _check_export_possible(cloud: Cloud, run: str, machine: Machine, what: str) -> None:
    """Prove that the copies can be made, and downloaded from here."""
    check_image_service(cloud)
    disks = [disk for disk in machine.disks if disk.key != ROOT]
    volumes = [
        (disk, cloud.read(f"read {disk.id}", partial(cloud.volumes.get_volume, disk.key))) for disk in disks
    ]
    concerns = [concern for disk, volume in volumes for concern in volume_concerns(disk, volume)]
    if not any(concern.code == quotas.CODE for concern in machine.concerns):  # the request accepts it
        concerns += quotas.concerns(cloud, run, ((disk.id, volume) for disk, volume in volumes))
    for concern in blocking(concerns):
        code = Exit.NO_SPACE if concern.code == quotas.CODE else Exit.UNSUPPORTED
        raise StepError(code, what, concern.message, concern.remedy)


def _read_server(cloud: Cloud, machine: Machine) -> Any:
    return cloud.read(f"read server {machine.name}", lambda: cloud.compute.get_server(machine.source_id))


def _request_start(cloud: Cloud, server: Any, what: str) -> None:
    """Nova sets `task_state` before it answers os-start (nova/compute/api.py, start)."""
    log.info("asking Nova to start the server", server=server.id)
    try:
        cloud.change(f"start server {server.name}", lambda: cloud.compute.start_server(server.id))
    except StepError as error:
        if getattr(server, "is_locked", False):
            raise StepError(Exit.POWER, what, "it is locked", "unlock it, then start it by hand") from error
        raise


def _request_stop(cloud: Cloud, server: Any, what: str) -> None:
    log.info("asking Nova to stop the server", server=server.id)
    try:
        cloud.change(f"stop server {server.name}", lambda: cloud.compute.stop_server(server.id))
    except StepError as error:
        if getattr(server, "is_locked", False):
            raise StepError(Exit.POWER, what, "it is locked", "unlock it, then retry") from error
        raise
