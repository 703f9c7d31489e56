"""A disk becomes a VirtualMachineImage: choose, create, wait, compare, and mark as done."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMAGE, Object
from steps.model.machine import Disk
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.harvester import markers, objects
from steps.targets.harvester.candidates import Candidates, Ours
from steps.targets.harvester.completed import NO_WORKFLOW, WorkflowRef, completed, mark
from steps.targets.harvester.integrity import compare
from steps.targets.harvester.ownership import owner, refuse_foreign
from steps.targets.harvester.serving import POLL, Card, Serving, await_card
from steps.targets.harvester.sibling import StepNode, refuse_without_serve
from steps.targets.harvester.state import State, state
from steps.targets.harvester.storage import Place, place, wanted_class
from steps.targets.target import ProgressCallback

log = structlog.get_logger()

STALLED: Final = 60 * 60.0
"""Seconds without any change after which an image counts as stalled. One per cent of 10 TB takes 17
minutes at 100 MB/s, and Harvester reports whole per cents."""


class Publishing:
    """Publishes one disk as an image. An earlier attempt may have done any part of it."""

    def __init__(
        self,
        plan: Plan,
        disk: Disk,
        cluster: Cluster,
        serving: Serving,
        stop: Stop,
        *,
        volumes: Volumes,
        workflow: WorkflowRef = NO_WORKFLOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._workflow = workflow
        self._cluster = cluster
        self._serving = serving
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace
        self._found: Place | None = None
        node = StepNode(cluster, "serve", disk.id, workflow)
        self._check = partial(refuse_without_serve, node, disk.id)
        self._candidates = Candidates(
            *(plan, disk.id, cluster, serving, stop),
            volumes=volumes,
            backend=lambda: self._place().backend,
            check=self._check,
            clock=clock,
        )

    def run(self, report: ProgressCallback) -> Object:
        """The image, imported and marked."""
        if (done := self._done()) is not None:
            log.info("an earlier attempt has published it", image=done["metadata"]["name"])
            return done
        card = self._card(digest=False)
        choice = self._candidates.choose(card)
        if not isinstance(choice, Ours):
            log.info("nothing is uploaded: the image exists already", image=choice["metadata"]["name"])
            self._card()  # before the mark: the mark ends serve, whose digest may be missing yet
            return self._mark(choice, {})
        if not choice.exists:
            self._make(choice, card)
        image = self._wait(choice.name, card, report)
        card = self._card()
        return self._mark(image, self._stamp(image, card))

    def _done(self) -> Object | None:
        """The image if this step is done already: `serve` has then ended, and there is no card."""
        return completed(self._cluster, self._plan, self._disk.id, self._workflow)

    def _card(self, *, digest: bool = True) -> Card:
        return await_card(
            *(self._serving, self._disk.id, self._stop),
            digest=digest,
            check=self._check,
            clock=self._clock,
        )

    def _make(self, ours: Ours, card: Card) -> None:
        manifest = objects.image(
            self._plan,
            self._disk.id,
            name=ours.name,
            display_name=ours.display_name,
            url=self._serving.url(self._disk.id, card.format),
            landed=card.landed,
            place=self._place(),
            owners=owner(self._cluster, self._plan),
        )
        try:
            self._cluster.create(manifest)
        except ExistsError:  # created by our request with a lost answer, or meanwhile by others
            refuse_foreign(self._get(ours.name), self._plan)
        log.info("image created", image=ours.name, display_name=ours.display_name)

    def _place(self) -> Place:
        """The storage of a new image, looked up once."""
        if self._found is None:
            self._found = place(self._cluster, wanted_class(self._plan.target, self._disk))
        return self._found

    def _wait(self, name: str, card: Card, report: ProgressCallback) -> Object:
        """Return when Harvester has the image.

        Raises:
            StepError: BROKEN_STREAM with its reason, if Harvester gives up; UNREACHABLE, if it stalls.
        """
        seen, since = None, self._clock()
        while True:
            image = self._get(name)
            now = state(image)
            report(card.size * min(now.percent, 100) // 100, card.size)
            if now.imported:
                return image
            if now != seen:
                self._look(name, now, seen)
                seen, since = now, self._clock()
            if self._clock() - since > STALLED:
                raise _stalled(name, now)
            self._stop.sleep(POLL)

    def _get(self, name: str) -> Object:
        image = self._cluster.get(IMAGE, name, self._namespace)
        if image is None or "deletionTimestamp" in image["metadata"]:
            raise StepError(Exit.UNREACHABLE, f"image {name} was deleted", remedy="vmferry creates it again")
        return image

    def _look(self, name: str, now: State, seen: State | None) -> None:
        """Log what went wrong with the image; raise if Harvester retries no more."""
        if now.failed:
            raise StepError(
                Exit.BROKEN_STREAM,
                f"Harvester could not import image {name}",
                self._serving.hide(now.failed),
                "the next attempt deletes it and creates it again",
            )
        if now.trouble and (seen is None or now.trouble != seen.trouble):
            log.warning(f"Harvester retries image {name}: {self._serving.hide(now.trouble)}")

    def _stamp(self, image: Object, card: Card) -> dict[str, str]:
        """The annotations that identify these bytes.

        Raises:
            StepError: BROKEN_STREAM, if they differ; the image is deleted and created again.
        """
        try:
            integrity = compare(self._cluster, image, card.sha512, self._stop, self._clock)
        except StepError as error:
            if error.code is not Exit.CORRUPT:
                raise
            metadata = image["metadata"]
            self._cluster.delete(IMAGE, metadata["name"], self._namespace, uid=metadata["uid"])
            raise StepError(Exit.BROKEN_STREAM, error.what, error.why, "vmferry creates it again") from None
        return {markers.DIGEST: card.sha512, markers.INTEGRITY: str(integrity)}

    def _mark(self, image: Object, stamp: dict[str, str]) -> Object:
        """Mark the image as that of the disk, for `serve` and `build`."""
        done = {**mark(self._plan, self._disk.id, self._workflow), **stamp}
        labels = {names.LABEL_RUN: self._plan.run, names.LABEL_DISK: self._disk.id}
        change: Object = {"metadata": {"labels": labels, "annotations": done}}
        name = image["metadata"]["name"]
        return self._cluster.patch(IMAGE, name, change, self._namespace) or self._get(name)


def _stalled(name: str, now: State) -> StepError:
    return StepError(
        Exit.UNREACHABLE,
        f"image {name} makes no progress",
        f"it has been at {now.percent} % for {STALLED / 60:g} minutes",
        f"see its events, and those of its volumes: kubectl describe vmimage {name}",
    )
