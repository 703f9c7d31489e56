"""Which image a disk becomes: an existing one, one begun earlier, or a new one.

    the import's own, by name ─ failed, or of another file ──────────── deleted and made again
                              ─ being downloaded, or of these bytes ─── resumed
                              ─ imported, of other bytes ────────────── a new one next to it, with a warning
    of an earlier import      ─ stamped with this digest ────────────── taken, nothing is uploaded
      of the same name        ─ without a stamp, if the setting says so taken by its name
                              ─ otherwise ───────────────────────────── a new one next to it, with a warning
                              ─ several ─────────────────────────────── a person has to choose

Images of the CDI backend are never reused from an earlier import: a VM runs on the image's own volume
there, so their content may have changed since they were stamped.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMAGE, Object
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.harvester import markers
from steps.targets.harvester.attaching import refuse_taken
from steps.targets.harvester.objects import names as listed
from steps.targets.harvester.ownership import (
    annotations_of,
    is_of_run,
    is_ours,
    refuse_foreign,
    refuse_leaving,
)
from steps.targets.harvester.serving import POLL, Card, Serving, await_card
from steps.targets.harvester.state import state
from steps.targets.harvester.storage import Backend

log = structlog.get_logger()

GOING: Final = 5 * 60.0
"""Seconds that the deletion of an image may take: Harvester first removes the data in Longhorn or CDI."""


@dataclass(frozen=True)
class Ours:
    """An image of this import; if not `exists`, it is still to be created."""

    name: str
    display_name: str
    exists: bool = False


class Fate(enum.Enum):
    """What to do with the import's own image of an earlier attempt."""

    GO_ON = enum.auto()
    REMAKE = enum.auto()
    LEAVE = enum.auto()


class Candidates:
    """The candidate images of a disk."""

    def __init__(
        self,
        plan: Plan,
        disk: str,
        cluster: Cluster,
        serving: Serving,
        stop: Stop,
        *,
        volumes: Volumes,
        backend: Callable[[], Backend],
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`backend` returns how a new image is stored; it is called when one has to be created."""
        self._plan = plan
        self._volume = volumes.names.get(disk, "")
        self._backend = backend
        self._disk = disk
        self._cluster = cluster
        self._serving = serving
        self._stop = stop
        self._check = check
        self._clock = clock
        self._namespace = plan.target.namespace
        self._display_name = markers.display_name(plan.import_, disk)

    def choose(self, card: Card) -> Ours | Object:
        """The image to create or to continue, or an equal one of another import.

        Raises:
            StepError: AMBIGUOUS or CONFLICT, when a person has to choose.
        """
        if own := self._own():
            match self._fate(own, card):
                case Fate.GO_ON:
                    return _existing(own)
                case Fate.LEAVE:
                    return self._new_next_to(own)
                case Fate.REMAKE:
                    self._delete(own)
        others = self._others()
        return self._among(others) if others else self._new()

    def _among(self, others: list[Object]) -> Ours | Object:
        """Among images of earlier imports: one with the same bytes, one by its name, or a new one."""
        digest = self._digest()
        same = [one for one in others if _is_reusable(one) and _stamp(one) == digest]
        if same:
            return min(same, key=lambda one: str(one["metadata"]["name"]))
        bearers = [one for one in others if one["spec"]["displayName"] == self._display_name]
        if len(bearers) > 1:
            raise StepError(
                Exit.AMBIGUOUS,
                f"{len(bearers)} images in {self._namespace} are named {self._display_name}",
                listed(bearers),
                "delete or rename all but the one you want, then retry",
            )
        return self._by_name(bearers[0]) if bearers else self._new()

    def _by_name(self, bearer: Object) -> Ours | Object:
        if self._plan.target.reuse_unstamped and _is_reusable(bearer) and not _stamp(bearer):
            log.warning(
                "the image is reused by its name; its content cannot be verified", image=listed([bearer])
            )
            return bearer
        return self._new_next_to(bearer)

    def _new_next_to(self, old: Object) -> Ours:
        """A new image next to one with other bytes.

        It cannot have the same display name: Harvester refuses a second one in a namespace
        (pkg/image/common/validator.go, commonCheckDisplayName).
        """
        card = self._card()
        log.warning(
            f"image {listed([old])} has this disk's name, but its content cannot be verified: "
            "creating a new image"
        )
        if is_ours(old, self._plan):
            self._withdraw(old)
        if own := self._own(card.sha512):
            if self._fate(own, card) is not Fate.REMAKE:
                return _existing(own)
            self._delete(own)
        return self._new(card.sha512)

    def _withdraw(self, old: Object) -> None:
        """Remove the mark, so that `build` does not use the image for the disk."""
        change = {"metadata": {"labels": {names.LABEL_RUN: None}, "annotations": {markers.PUBLISHED: None}}}
        self._cluster.patch(IMAGE, old["metadata"]["name"], change, self._namespace)

    def _fate(self, own: Object, card: Card) -> Fate:
        refuse_foreign(own, self._plan)
        now, annotations = state(own), annotations_of(own)
        url = self._serving.url(self._disk, card.format)
        same_file = own["spec"]["url"] == url and annotations.get(markers.LANDED) == card.landed
        if now.failed:
            return Fate.REMAKE
        if not now.imported:
            return Fate.GO_ON if same_file else Fate.REMAKE
        if markers.DIGEST not in annotations:
            return Fate.GO_ON if same_file else Fate.LEAVE
        return Fate.GO_ON if _stamp(own) == self._digest() else Fate.LEAVE

    def _own(self, digest: str = "") -> Object | None:
        """The image of an earlier attempt, for either backend; with `digest` the additional one.

        An image of CDI counts only for its own run, as a VM may have written to its volume since.
        """
        plain = self._there(markers.image(self._plan.import_, self._disk, digest))
        if plain is not None and not _is_cdi(plain):
            return plain
        named = self._there(self._called(Backend.CDI, digest)) if self._volume else plain
        return named if named is not None and _is_cdi(named) and is_of_run(named, self._plan) else None

    def _new(self, digest: str = "") -> Ours:
        """An image to be created; with `digest` an additional one with another display name.

        With CDI it still gets the volume's name, if no image has it.

        Raises:
            StepError: CONFLICT, if its name is taken.
        """
        backend = self._backend()
        plain = self._called(backend, "") if backend is Backend.CDI else ""
        name = plain if plain and self._there(plain) is None else self._called(backend, digest)
        if found := self._there(name):
            refuse_foreign(found, self._plan)
            raise StepError(
                Exit.CONFLICT,
                f"image {self._namespace}/{name} already exists",
                "it belongs to an earlier run of this import",
                "delete it if nobody needs it, then retry",
            )
        if backend is Backend.CDI:
            self._await_free(name)
        suffix = markers.image(self._plan.import_, self._disk, digest).removeprefix("image-")[:8]
        display = (
            markers.display_name(self._plan.import_, self._disk, suffix) if digest else self._display_name
        )
        return Ours(name, display)

    def _called(self, backend: Backend, digest: str) -> str:
        volume = self._volume if backend is Backend.CDI else ""
        return markers.image_of_volume(self._plan.import_, self._disk, volume, digest)

    def _delete(self, own: Object) -> None:
        """Delete an image of an earlier attempt, and return when it is deleted."""
        name = own["metadata"]["name"]
        if _is_cdi(own):  # Harvester deletes the volume of that name with it
            refuse_taken(self._cluster, self._namespace, name, own)
        why = self._serving.hide(state(own).failed) or "it was made from another file"
        log.info(f"deleting image {name} of an earlier attempt and creating it again: {why}")
        self._cluster.delete(IMAGE, name, self._namespace, uid=own["metadata"]["uid"])
        self._there(name)

    def _await_free(self, name: str) -> None:
        """Return when no volume has the name; one whose image was deleted is removed soon.

        Raises:
            StepError: CONFLICT, for a foreign volume.
        """
        end = self._clock() + GOING
        while True:
            try:
                return refuse_taken(self._cluster, self._namespace, name)
            except StepError as error:
                if error.code is not Exit.BUSY or self._clock() > end:
                    raise
            self._stop.sleep(POLL)

    def _there(self, name: str) -> Object | None:
        """The image or None. Waits for one that is being deleted."""
        end = self._clock() + GOING
        while True:
            found = self._cluster.get(IMAGE, name, self._namespace)
            if found is None or "deletionTimestamp" not in found["metadata"]:
                return found
            self._wait(found, end)

    def _others(self) -> list[Object]:
        """Images of earlier imports with this one's name, after waiting for those that are being deleted."""
        end = self._clock() + GOING
        while True:
            found = self._named()
            leaving = [one for one in found if "deletionTimestamp" in one["metadata"]]
            if not leaving:
                return found
            self._wait(leaving[0], end)

    def _named(self) -> list[Object]:
        of = names.labels(self._plan)
        by_import = {key: of[key] for key in (names.LABEL_NAME, names.LABEL_NAMESPACE)}
        selectors = (
            {markers.IMAGE_DISPLAY_NAME: markers.display_label(self._display_name)},
            {**by_import, names.LABEL_DISK: self._disk},
        )
        found = [one for labels in selectors for one in self._cluster.find(IMAGE, self._namespace, labels)]
        return list({one["metadata"]["uid"]: one for one in found}.values())

    def _wait(self, leaving: Object, end: float) -> None:
        if self._clock() > end:
            refuse_leaving(leaving)
        self._stop.sleep(POLL)

    def _card(self) -> Card:
        return await_card(
            self._serving, self._disk, self._stop, digest=True, check=self._check, clock=self._clock
        )

    def _digest(self) -> str:
        return self._card().sha512


def _existing(image: Object) -> Ours:
    return Ours(image["metadata"]["name"], image["spec"]["displayName"], exists=True)


def _is_cdi(image: Object) -> bool:
    return bool(image["spec"].get("backend") == Backend.CDI)


def _stamp(image: Object) -> str:
    return annotations_of(image).get(markers.DIGEST, "")


def _is_reusable(image: Object) -> bool:
    return state(image).imported and image["spec"].get("backend") == Backend.BACKING_IMAGE
