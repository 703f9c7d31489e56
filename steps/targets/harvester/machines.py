"""The machine: its claims, its VirtualMachine, its start, and letting go of it all on success."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from steps.cluster import CLAIM, IMAGE, MACHINE, Cluster, ExistsError, Kind, Object
from steps.contract import Exit, StepError
from steps.machine import DiskId
from steps.mapping import Shape, TargetDisk
from steps.plan import Plan
from steps.stop import Stop
from steps.targets.harvester import names, objects
from steps.targets.harvester.completed import published_for
from steps.targets.harvester.ownership import (
    annotations_of,
    let_go,
    owner,
    refuse_foreign,
    refuse_leaving,
)
from steps.targets.harvester.refused import explained
from steps.targets.harvester.serving import POLL
from steps.targets.harvester.state import state
from steps.targets.harvester.storage import Backend

log = structlog.get_logger()

RUNNING: Final = "RerunOnFailure"
READY: Final = 15 * 60.0
"""Seconds a started machine may take to be ready: its volumes are attached, its image pulled, QEMU starts."""


class Machines:
    """What `build` and `start` make in the import's namespace."""

    def __init__(
        self, plan: Plan, cluster: Cluster, stop: Stop, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace

    def build(self, shape: Shape) -> list[str]:
        """Make the claims and the machine, left off; a machine that is handed over already is not touched."""
        there = self._machine(shape.name)
        if there is not None and is_handed_over(there):
            return [f"machine {shape.name} is there already and its owner's: nothing was changed"]
        images = self._images(shape)
        owners = owner(self._cluster, self._plan)
        volumes = {disk.id: self._volume(images[disk.id], disk, owners) for disk in shape.disks}
        backends = {disk: str(image["spec"].get("backend")) for disk, image in images.items()}
        self._make(shape, objects.machine(self._plan, shape, volumes, backends, owners), there)
        if not shape.start:
            self.release(shape)
            self._change(shape.name, {"metadata": {"annotations": {names.HANDED_OVER: "left off"}}})
        return [f"{disk}: claim {volume['metadata']['name']}" for disk, volume in volumes.items()]

    def start(self, shape: Shape) -> None:
        """Set the machine running; once only, as from then on it is its owner's to start and stop."""
        found = self._own(shape.name)
        if not is_handed_over(found):
            marked = {"annotations": {names.HANDED_OVER: "started"}}
            with explained(shape):
                self._change(shape.name, {"metadata": marked, "spec": {"runStrategy": RUNNING}})

    def wait(self, shape: Shape) -> None:
        """Return when the machine is ready and everything of it has been let go.

        Raises:
            StepError: UNREACHABLE, with what KubeVirt says of it, when it is not ready in time.
        """
        end, told = self._clock() + READY, ""
        while not (status := self._own(shape.name).get("status") or {}).get("ready"):
            says = _says(status)
            if says != told:
                log.info(f"machine {shape.name}: {says}")
                told = says
            if self._clock() > end:
                remedy = f"see kubectl describe vm {shape.name}; retry to wait for it again"
                why = f"after {READY / 60:g} minutes KubeVirt says: {says}"
                raise StepError(Exit.UNREACHABLE, f"machine {shape.name} is not ready", why, remedy)
            self._stop.sleep(POLL)
        self.release(shape)

    def release(self, shape: Shape) -> None:
        """Let the import no longer own what it made; the machine last, so that it never loses its volumes."""
        images = self._images(shape).values()
        claims = (self._cluster.get(CLAIM, one["metadata"]["name"], self._namespace) for one in images)
        owned: list[tuple[Kind, Object]] = [(IMAGE, one) for one in images]
        owned += [(CLAIM, one) for one in claims if one is not None]
        for kind, thing in [*owned, (MACHINE, self._own(shape.name))]:
            let_go(self._cluster, kind, thing, self._plan)

    def _images(self, shape: Shape) -> dict[DiskId, Object]:
        """The image of each disk, as `image` left it.

        Raises:
            StepError: INVALID, when one is not there.
        """
        found = self._cluster.find(IMAGE, self._namespace, {names.LABEL_RUN: self._plan.run})
        by_mark = {annotations_of(one).get(names.PUBLISHED): one for one in found}
        images = {disk.id: by_mark.get(published_for(self._plan, disk.id)) for disk in shape.disks}
        missing = sorted(disk for disk, image in images.items() if image is None)
        if missing:
            raise StepError(
                Exit.INVALID, f"no image of {', '.join(missing)}", "it was deleted", "run the import anew"
            )
        return {disk: image for disk, image in images.items() if image is not None}

    def _volume(self, image: Object, disk: TargetDisk, owners: list[Object]) -> Object:
        name = image["metadata"]["name"]
        if image["spec"].get("backend") == Backend.CDI:
            return self._golden(name)
        manifest = objects.claim(self._plan, image, state(image), disk.capacity, owners)
        with contextlib.suppress(ExistsError):
            return self._cluster.create(manifest)
        found = self._cluster.get(CLAIM, name, self._namespace) or {}
        if not found:
            raise StepError(Exit.BUSY, f"claim {name} was deleted just now")
        refuse_foreign(found, self._plan)
        refuse_leaving(found)
        return found

    def _golden(self, name: str) -> Object:
        """CDI's claim of the image's own name, which is the machine's volume as it is."""
        found = self._cluster.get(CLAIM, name, self._namespace)
        if found is None:
            raise StepError(Exit.UNREACHABLE, f"CDI has not made claim {self._namespace}/{name} of the image")
        return found

    def _make(self, shape: Shape, manifest: Object, there: Object | None) -> None:
        """Create the machine, or bring one of our own up to date with what is asked for now."""
        with explained(shape):
            if there is None:
                try:
                    self._cluster.create(manifest)
                except ExistsError:  # since we looked: by us, with an answer that was lost, or by others
                    there = self._own(manifest["metadata"]["name"])
            if there is not None:
                self._cluster.apply(manifest)

    def _machine(self, name: str) -> Object | None:
        """The machine if it is there, and then ours. Raises StepError (CONFLICT) for another's."""
        found = self._cluster.get(MACHINE, name, self._namespace)
        if found is not None:
            refuse_foreign(found, self._plan)
            refuse_leaving(found)
        return found

    def _own(self, name: str) -> Object:
        found = self._machine(name)
        if found is None:
            raise StepError(Exit.INVALID, f"machine {name} is gone", "someone deleted it", "retry build")
        return found

    def _change(self, name: str, change: Object) -> None:
        self._cluster.patch(MACHINE, name, change, self._namespace)


def is_handed_over(machine: Object) -> bool:
    """By `start` or `build`, or by a person who started it meanwhile."""
    started = machine["spec"].get("runStrategy") != objects.HALTED
    return started or names.HANDED_OVER in annotations_of(machine)


def _says(status: dict[str, Any]) -> str:
    """KubeVirt's state of a machine, and every reason it gives for not being ready."""
    reasons = [
        f"{one['type']} {one['status']}: {one['message']}"
        for one in status.get("conditions") or []
        if one.get("message")
    ]
    return "; ".join([status.get("printableStatus") or "no state yet", *reasons])
