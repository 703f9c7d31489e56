"""Shows the engine's status in an import of `v2v.kubevirt.io`: status, annotations, Events.

Each call compares what the import shows with what it should show, so that a kill between two writes loses
nothing but an Event.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controller.operator.events import emit
from controller.operator.observe.facts import Facts
from controller.operator.observe.v2v import Dialect
from controller.operator.options import InitFailure, Options
from steps.model.kinds import V2V_IMPORT
from steps.runtime.cluster import Cluster
from workflows.api.status import ImportStatus
from workflows.api.v2v import V2vStatus
from workflows.status.v2v import COMPONENT, Picture, annotations_of, events_between, status_of


class V2vShown:
    """What one import shows."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        facts: Facts,
        dialect: Dialect,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._facts = facts
        self._dialect = dialect
        self._clock = clock
        self._is_final = options.v2v.init_failure is InitFailure.FINAL
        self._shown = dialect.before
        self._annotations = dict(facts.annotations)

    def show(self, earlier: ImportStatus, status: ImportStatus) -> None:
        """Write what has changed. `earlier` is the status before `status`.

        Raises:
            StepError: where the API refuses or does not answer.
        """
        facts = self._facts
        if not status.import_conditions:
            return  # the engine has said nothing yet: what the import shows may be of vm-import-operator
        picture = Picture(
            namespace=facts.namespace,
            kind=self._dialect.kind,
            status=status,
            concerns=facts.shape.concerns if facts.shape is not None else None,
            machine=facts.machine,
            is_final=self._is_final,
        )
        after = status_of(picture, self._shown, self._clock())
        self._write_status(after)
        self._write_annotations(picture)
        events = events_between(self._shown, after, earlier, picture, facts.import_.spec)
        for reason, message, warning in events:
            emit(self._cluster, facts.raw, reason, message, warning=warning, component=COMPONENT)
        self._shown = after

    def _write_status(self, after: V2vStatus) -> None:
        if after != self._shown:
            facts = self._facts
            self._cluster.patch_status(V2V_IMPORT, facts.name, after.to_document(), facts.namespace)

    def _write_annotations(self, picture: Picture) -> None:
        changes = annotations_of(picture, self._annotations)
        if not changes:
            return
        facts = self._facts
        change = {"metadata": {"annotations": changes}}
        self._cluster.patch(V2V_IMPORT, facts.name, change, facts.namespace)
        for name, value in changes.items():
            if value is None:
                self._annotations.pop(name, None)
            else:
                self._annotations[name] = value
