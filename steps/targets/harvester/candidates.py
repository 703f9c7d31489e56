"""Which image a disk becomes: one that is there already, one begun before, or one to be made.

    the import's own, by name ─ failed, or of another file ──────────── deleted and made anew
                              ─ being downloaded, or of these bytes ─── gone on with
                              ─ imported, of other bytes ────────────── a new one beside it, with a warning
    of an earlier import      ─ stamped with this digest ────────────── taken, nothing is uploaded
      of the same name        ─ without a stamp, if the setting says so taken by its name
                              ─ otherwise ───────────────────────────── a new one beside it, with a warning
                              ─ several ─────────────────────────────── a person has to choose

Images of the CDI backend are never taken from an earlier import: a machine runs on the image's own volume
there, so their content has changed since they were stamped.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from steps.cluster import IMAGE, Cluster, Object
from steps.contract import Exit, StepError
from steps.plan import Plan
from steps.stop import Stop
from steps.targets.harvester import names
from steps.targets.harvester.objects import names as listed
from steps.targets.harvester.ownership import annotations_of, is_ours, refuse_foreign, refuse_leaving
from steps.targets.harvester.serving import POLL, Card, Serving, await_card
from steps.targets.harvester.state import state
from steps.targets.harvester.storage import Backend

log = structlog.get_logger()

GOING: Final = 5 * 60.0
"""Seconds that a deleted image may take to be gone: Harvester first takes away what Longhorn or CDI has."""


@dataclass(frozen=True)
class Ours:
    """An image of this import's own; not `exists`: yet to be made."""

    name: str
    display_name: str
    exists: bool = False


class Fate(enum.Enum):
    """What becomes of an image of the import's own from an earlier attempt."""

    GO_ON = enum.auto()
    REMAKE = enum.auto()
    LEAVE = enum.auto()


class Candidates:
    """The images that a disk may become."""

    def __init__(
        self,
        plan: Plan,
        disk: str,
        cluster: Cluster,
        serving: Serving,
        stop: Stop,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._cluster = cluster
        self._serving = serving
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace
        self._ours = Ours(names.image(plan.import_, disk), names.display_name(plan.import_, disk))

    def choose(self, card: Card) -> Ours | Object:
        """The image to make or go on with, or another's that is as good.

        Raises:
            StepError: AMBIGUOUS or CONFLICT, when a person has to choose.
        """
        own = self._there(self._ours.name)
        if own is not None:
            fate = self._fate(own, card)
            return self._beside(own) if fate is Fate.LEAVE else self._carry_out(fate, own, self._ours)
        others = self._others()
        if not others:
            return self._ours
        return self._among(others)

    def _among(self, others: list[Object]) -> Ours | Object:
        """Of images of earlier imports: one of the same bytes, one by its name, or a new one."""
        digest = self._digest()
        same = [one for one in others if _is_reusable(one) and _stamp(one) == digest]
        if same:
            return min(same, key=lambda one: str(one["metadata"]["name"]))
        bearers = [one for one in others if one["spec"]["displayName"] == self._ours.display_name]
        if len(bearers) > 1:
            raise StepError(
                Exit.AMBIGUOUS,
                f"{len(bearers)} images in {self._namespace} are named {self._ours.display_name}",
                listed(bearers),
                "delete or rename all but the one you want, then retry",
            )
        if not bearers:
            return self._ours
        return self._by_name(bearers[0])

    def _by_name(self, bearer: Object) -> Ours | Object:
        if self._plan.target.reuse_unstamped and _is_reusable(bearer) and not _stamp(bearer):
            log.warning("the image is taken by its name; nothing proves its bytes", image=listed([bearer]))
            return bearer
        return self._beside(bearer)

    def _beside(self, old: Object) -> Ours:
        """A new image next to one of other bytes.

        It cannot bear the same display name: Harvester refuses a second one in a namespace
        (pkg/image/common/validator.go, commonCheckDisplayName).
        """
        digest = self._digest()
        log.warning(
            f"image {listed([old])} bears this disk's name and is not known to hold its bytes: "
            "a new one is made beside it"
        )
        if is_ours(old, self._plan):
            self._withdraw(old)
        name = names.image(self._plan.import_, self._disk, digest)
        suffix = name.removeprefix("image-")[:8]
        ours = Ours(name, names.display_name(self._plan.import_, self._disk, suffix))
        own = self._there(name)
        if own is None:
            return ours
        card = self._card()
        fate = self._fate(own, card)
        return self._carry_out(Fate.GO_ON if fate is Fate.LEAVE else fate, own, ours)

    def _withdraw(self, old: Object) -> None:
        """Let `build` no longer take it for the disk."""
        change = {"metadata": {"labels": {names.LABEL_RUN: None}, "annotations": {names.PUBLISHED: None}}}
        self._cluster.patch(IMAGE, old["metadata"]["name"], change, self._namespace)

    def _fate(self, own: Object, card: Card) -> Fate:
        refuse_foreign(own, self._plan)
        now, annotations = state(own), annotations_of(own)
        url = self._serving.url(self._disk, card.format)
        same_file = own["spec"]["url"] == url and annotations.get(names.LANDED) == card.landed
        if now.failed:
            return Fate.REMAKE
        if not now.imported:
            return Fate.GO_ON if same_file else Fate.REMAKE
        if names.DIGEST not in annotations:
            return Fate.GO_ON if same_file else Fate.LEAVE
        return Fate.GO_ON if _stamp(own) == self._digest() else Fate.LEAVE

    def _carry_out(self, fate: Fate, own: Object, ours: Ours) -> Ours:
        if fate is Fate.GO_ON:
            return replace(ours, exists=True)
        why = self._serving.hide(state(own).failed) or "it was of another file"
        log.info(f"image {ours.name} of an earlier attempt is deleted and made anew: {why}")
        self._cluster.delete(IMAGE, ours.name, self._namespace, uid=own["metadata"]["uid"])
        self._there(ours.name)
        return ours

    def _there(self, name: str) -> Object | None:
        """The image; None once there is none. One that is being deleted is waited for."""
        end = self._clock() + GOING
        while True:
            found = self._cluster.get(IMAGE, name, self._namespace)
            if found is None or "deletionTimestamp" not in found["metadata"]:
                return found
            self._wait(found, end)

    def _others(self) -> list[Object]:
        """Images of earlier imports that bear this one's name, once those on their way out are gone."""
        end = self._clock() + GOING
        while True:
            found = self._named()
            leaving = [one for one in found if "deletionTimestamp" in one["metadata"]]
            if not leaving:
                return found
            self._wait(leaving[0], end)

    def _named(self) -> list[Object]:
        of = names.marks(self._plan)
        by_import = {key: of[key] for key in (names.LABEL_NAME, names.LABEL_NAMESPACE)}
        selectors = (
            {names.IMAGE_DISPLAY_NAME: names.label_value(self._ours.display_name)},
            {**by_import, names.LABEL_DISK: self._disk},
        )
        found = [one for labels in selectors for one in self._cluster.find(IMAGE, self._namespace, labels)]
        return list({one["metadata"]["uid"]: one for one in found}.values())

    def _wait(self, leaving: Object, end: float) -> None:
        if self._clock() > end:
            refuse_leaving(leaving)
        self._stop.sleep(POLL)

    def _card(self) -> Card:
        return await_card(self._serving, self._disk, self._stop, digest=True, clock=self._clock)

    def _digest(self) -> str:
        return self._card().sha512


def _stamp(image: Object) -> str:
    return annotations_of(image).get(names.DIGEST, "")


def _is_reusable(image: Object) -> bool:
    return state(image).imported and image["spec"].get("backend") == Backend.BACKING_IMAGE
