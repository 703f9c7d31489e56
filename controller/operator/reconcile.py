"""Observe, decide, act: one reconcile of one import, or of one plan of imports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from controller.operator import orphans
from controller.operator.act.actor import Actor
from controller.operator.act.plan import PlanActor, owner_of
from controller.operator.cache import StatusCache
from controller.operator.checkpods.check import Owner
from controller.operator.checkpods.runner import CheckPods
from controller.operator.decide import plan as decide_plan
from controller.operator.decide.main import Decision, decide
from controller.operator.observe import plan as observe_plan
from controller.operator.observe.facts import Facts, gather, read_import
from controller.operator.observe.rivals import with_rivals
from controller.operator.observe.source import KINDS
from controller.operator.options import Options
from controller.operator.routing import ImportKey, SourceKey
from controller.operator.sources.users import SecretUsers
from controller.operator.sweep import left_by, sweep
from steps.model.kinds import IMPORT, MIGRATION_PLAN
from steps.runtime.cluster import Cluster

log = structlog.get_logger()

START_LOCK: Final = threading.Lock()
"""Held from the check for rivals until the status announces the import: two imports that are reconciled at
the same moment would not see each other. The Lease allows only one controller, so a lock in the process is
enough.
"""


def reconcile(
    cluster: Cluster,
    options: Options,
    key: ImportKey | tuple[str, str],
    cache: StatusCache,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    checks: CheckPods | None = None,
    check_source: Callable[[SourceKey], None] = lambda _source: None,
    secrets: SecretUsers | None = None,
) -> float | None:
    """Reconcile one import or plan. Returns seconds until the next reconcile; None if deleted.

    Without `checks`, a dry run has a pod without waiting for its turn. `check_source` is called with a source
    whose credentials have changed since they were checked. `secrets` gets to know which Secrets must be
    checked.

    Raises:
        StepError: where the API refuses or does not answer; the import is requeued.
    """
    key = ImportKey(*key)
    checks, secrets = checks or CheckPods(cluster, options), secrets or SecretUsers()
    if key.kind == MIGRATION_PLAN:
        return _reconcile_plan(cluster, options, key, cache, clock, checks)
    owner = Owner(key.kind, key.namespace, key.name)
    raw = read_import(cluster, key.namespace, key.name, key.kind)
    if raw is None:
        cache.forget(key)
        secrets.forget(key)
        if key.kind == IMPORT:
            checks.drop(owner)
        left = left_by(key.namespace, key.name)
        sweep(cluster, options.namespace, left)
        orphans.clean_up(cluster, options, left, clock)
        return None
    now = clock()
    facts = gather(cluster, options, raw, cache.other_controller(key.kind), now)
    decision = decide(facts, options, now)
    secrets.note(key, facts)
    source = _source_key(facts)
    if facts.resolved.is_due and source is not None:
        check_source(source)
    if key.kind == IMPORT and not decision.makes_dry_run:
        checks.drop(owner)
    if not decision.starts_workflow:
        return _carry_out(decision, Actor(cluster, options, checks, facts, clock), key, cache)
    with START_LOCK:
        facts = with_rivals(cluster, options, facts)
        decision = decide(facts, options, now)
        return _carry_out(decision, Actor(cluster, options, checks, facts, clock), key, cache)


PLAN_LOCKS: Final = tuple(threading.Lock() for _ in range(16))
"""Held during a reconcile of a plan: two plans of a namespace must not use the same place of a limit. Each
namespace has one of them."""


def _reconcile_plan(
    cluster: Cluster,
    options: Options,
    key: ImportKey,
    cache: StatusCache,
    clock: Callable[[], datetime],
    checks: CheckPods,
) -> float | None:
    """Reconcile one plan, as `reconcile`."""
    with PLAN_LOCKS[hash(key.namespace) % len(PLAN_LOCKS)]:
        raw = observe_plan.read_plan(cluster, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            checks.drop(owner_of(key.namespace, key.name))  # the garbage collector deletes its imports
            cache.forget_plan(key)
            return None
        facts = observe_plan.gather(cluster, options, raw, cache.other_controller(IMPORT))
        decision = decide_plan.decide(facts, options, clock())
        actor = PlanActor(cluster, options, checks, facts, clock)
        for action in decision.actions:
            actor.do(action)
        actor.finish()
        cache.put_plan(key, actor.status)
        return decision.requeue_seconds


def _source_key(facts: Facts) -> SourceKey | None:
    """The source of an import; for one of `v2v.kubevirt.io` its Secret."""
    if facts.dialect is not None:
        return SourceKey(*facts.dialect.secret) if facts.dialect.secret else None
    source = facts.resolved.source
    if source is None:
        return None
    return SourceKey(KINDS[source.kind.lower()], source.metadata.namespace, source.metadata.name)


def _carry_out(decision: Decision, actor: Actor, key: ImportKey, cache: StatusCache) -> float:
    for action in decision.actions:
        actor.do(action)
    actor.finish()
    cache.put(key, actor.status)
    return decision.requeue_seconds
