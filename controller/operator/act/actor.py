"""Carries out what was decided, one small write after the other; each may be done twice."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import singledispatchmethod
from typing import Final

import structlog

from controller.operator import limits
from controller.operator.act import objects
from controller.operator.act.dryrun import rehearse
from controller.operator.act.transitions import happenings
from controller.operator.decide.actions import (
    Act,
    Approve,
    Begin,
    Discard,
    GiveBack,
    Hold,
    LetGo,
    Refresh,
    Rehearse,
    Release,
    Report,
    Say,
    Stop,
    Suspend,
    Tidy,
    Unmark,
)
from controller.operator.decide.control import CANCELLED, SUSPENDED
from controller.operator.events import emit
from controller.operator.observe.facts import FINALIZER, Facts
from controller.operator.observe.request import credentials_digest
from controller.operator.options import Options
from controller.operator.telemetry import lines
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, SECRET, WORKFLOW, Kind, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster, ExistsError
from workflows import names
from workflows.api.annotations import APPROVE
from workflows.api.conditions import stamp
from workflows.api.status import ImportStatus
from workflows.author.workflow import author
from workflows.status.reflect import PROGRESS, annotation

log = structlog.get_logger()

TOKEN_BYTES: Final = 32


class Actor:
    """Does the acts about one import, as it was found in `facts`."""

    def __init__(
        self, cluster: Cluster, options: Options, facts: Facts, clock: Callable[[], datetime]
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._facts = facts
        self._clock = clock
        self._status = facts.status
        self.log = log.bind(**_about(facts))

    def do(self, act: Act) -> None:
        """Carry out an act. Raises StepError where the API refuses or does not answer."""
        self._do(act)

    @property
    def status(self) -> ImportStatus:
        """The status as it was written last."""
        return self._status

    @singledispatchmethod
    def _do(self, act: object) -> None:
        raise TypeError(f"nothing knows how to do {act!r}")

    # --- the import itself

    @_do.register
    def _hold(self, _: Hold) -> None:
        if not self._facts.held:
            self._finalizers([*self._finalizers_now(), FINALIZER])

    @_do.register
    def _let_go(self, _: LetGo) -> None:
        if self._facts.leaving:
            self.log.info("Cleaning up temporary data ...")
        self._finalizers([name for name in self._finalizers_now() if name != FINALIZER])

    @_do.register
    def _report(self, act: Report) -> None:
        before, after = self._status, act.status
        if after != before:
            where = self._facts.name, self._facts.namespace
            self._cluster.patch_status(IMPORT, where[0], after.to_document(), where[1])
            self._status = after
            for happening in happenings(before, after):
                emit(self._cluster, self._facts.raw, *happening[:2], warning=happening.warning)
            for level, message, fields in lines(before, after, self._facts.import_):
                self.log.bind(**fields).log(level, message)
        self._progress(after)

    @_do.register
    def _unmark(self, act: Unmark) -> None:
        self._annotate({act.annotation: None})

    @_do.register
    def _say(self, act: Say) -> None:
        emit(self._cluster, self._facts.raw, act.reason, act.message, warning=act.warning)
        (self.log.warning if act.warning else self.log.info)(act.message)

    # --- a run

    @_do.register
    def _begin(self, act: Begin) -> None:
        request = self._ensure_request(act.plan, act.spec)
        self._put_credentials(act.plan, act.credentials, request, credentials_digest(act.credentials))
        self._ensure_address(act.plan, request)
        limits.keep(self._cluster, self._options, act.plan.source)
        made = author(
            act.plan, self._options.installation, attempt=act.attempt, owner=request["metadata"]["uid"]
        )
        self._create_workflow(made, act.plan)

    @_do.register
    def _refresh(self, act: Refresh) -> None:
        request = self._cluster.get(CONFIG_MAP, names.request(act.plan.run), self._namespace)
        if request is not None:
            asked = self._facts.asked
            self._put_credentials(act.plan, act.credentials, request, asked.tried if asked else "")
            self.log.info("The credentials of the source were changed; the run has the new ones")

    @_do.register
    def _tidy(self, act: Tidy) -> None:
        for name in (names.credentials(act.run), names.address(act.run)):
            self._cluster.delete(SECRET, name, self._namespace)

    @_do.register
    def _discard(self, act: Discard) -> None:
        for name in act.workflows:
            self._cluster.delete(WORKFLOW, name, self._namespace)

    @_do.register
    def _release(self, act: Release) -> None:
        for run in act.runs:
            for name in (names.request(run), names.planned(run)):
                self._cluster.delete(CONFIG_MAP, name, self._namespace)

    @_do.register
    def _give_back(self, act: GiveBack) -> None:
        """A Workflow that is stopped before it begins runs its exit handler alone (seen, Argo 4.1.2)."""
        request = self._cluster.get(CONFIG_MAP, names.request(act.plan.run), self._namespace)
        if request is None:
            return
        self._put_credentials(act.plan, act.credentials, request, "")
        made = author(act.plan, self._options.installation, owner=request["metadata"]["uid"])
        made["metadata"]["name"] = names.give_back(act.plan.run)
        made["spec"]["shutdown"] = "Stop"
        self._create_workflow(made, act.plan)

    @_do.register
    def _rehearse(self, act: Rehearse) -> None:
        status = rehearse(self._cluster, self._options, act, self._status, self._facts.import_, self._clock())
        self._report(Report(status))

    # --- a Workflow that runs

    @_do.register
    def _stop(self, act: Stop) -> None:
        notes = {"metadata": {"annotations": {CANCELLED: "true"}}} if act.cancelled else {}
        self._cluster.patch(WORKFLOW, act.workflow, {**notes, "spec": {"shutdown": "Stop"}}, self._namespace)

    @_do.register
    def _suspend(self, act: Suspend) -> None:
        held = True if act.held else None
        change = {
            "metadata": {"annotations": {SUSPENDED: "true" if held else None}},
            "spec": {"suspend": held},
        }
        self._cluster.patch(WORKFLOW, act.workflow, change, self._namespace)

    @_do.register
    def _approve(self, act: Approve) -> None:
        now = stamp(self._clock())
        node = {"phase": "Succeeded", "finishedAt": now, "message": f"approved by {act.by}"}
        change = {"status": {"nodes": dict.fromkeys(act.nodes, node)}}
        self._cluster.patch(WORKFLOW, act.workflow, change, self._namespace)
        self._say(Say("Approved", f"{act.gate} was approved (annotation written by {act.by})"))
        self._annotate({APPROVE: act.left or None})

    # --- inside

    @property
    def _namespace(self) -> str:
        return self._options.namespace

    def _finalizers_now(self) -> list[str]:
        return list(self._facts.raw["metadata"].get("finalizers") or [])

    def _finalizers(self, wanted: list[str]) -> None:
        """For the version that was read only: a list is replaced as a whole, and others write to it too."""
        version = self._facts.raw["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version, "finalizers": wanted or None}}
        self._cluster.patch(IMPORT, self._facts.name, change, self._facts.namespace)

    def _annotate(self, notes: Mapping[str, str | None]) -> None:
        change = {"metadata": {"annotations": dict(notes)}}
        self._cluster.patch(IMPORT, self._facts.name, change, self._facts.namespace)

    def _progress(self, status: ImportStatus) -> None:
        if status.workflow is not None and self._facts.annotations.get(PROGRESS) != annotation(status):
            self._annotate({PROGRESS: annotation(status)})

    def _ensure_request(self, plan: Plan, spec: str) -> Object:
        """The request as it is to be now; a retry after the spec was mended writes it anew."""
        wanted = objects.request(plan, spec, self._namespace)
        made = self._cluster.apply(wanted)
        self._refuse_foreign(CONFIG_MAP, made, plan)
        return made

    def _put_credentials(self, plan: Plan, data: Mapping[str, str], request: Object, tried: str) -> None:
        self._cluster.apply(objects.credentials(plan, data, self._namespace, request, tried))

    def _ensure_address(self, plan: Plan, request: Object) -> None:
        """The token stays the same for a run: what is being downloaded must be found again."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with contextlib.suppress(ExistsError):
            self._cluster.create(objects.address(plan, token, self._namespace, request))

    def _create_workflow(self, made: Object, plan: Plan) -> None:
        try:
            self._cluster.create(made)
        except ExistsError:
            found = self._cluster.get(WORKFLOW, made["metadata"]["name"], self._namespace)
            if found is not None:
                self._refuse_foreign(WORKFLOW, found, plan)

    def _refuse_foreign(self, kind: Kind, found: Object, plan: Plan) -> None:
        labels = found["metadata"].get("labels") or {}
        if labels.get(names.LABEL_UID) != names.label_value(plan.import_.uid):
            what = f"{kind.kind} {self._namespace}/{found['metadata']['name']} is not of this import"
            raise StepError(Exit.CONFLICT, what, remedy="delete or rename it")


def _about(facts: Facts) -> dict[str, str]:
    """What every log line about an import carries, in today's keys."""
    spec = facts.import_.spec
    return {
        "name": facts.name,
        "namespace": facts.namespace,
        "spec.virtualMachineName": spec.virtual_machine_name,
        "spec.sourceCluster.kind": spec.source_cluster.kind,
        "spec.sourceCluster.name": spec.source_cluster.name,
    }
