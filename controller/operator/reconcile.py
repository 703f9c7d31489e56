"""Observe, decide, act: one look at one import."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from controller.operator.act import Actor
from controller.operator.decide import decide
from controller.operator.facts import gather, read_import
from controller.operator.ledger import Ledger
from controller.operator.options import Options
from controller.operator.sweep import left_by, sweep
from steps.cluster import Cluster

log = structlog.get_logger()

SOON: Final = 1.0
"""Seconds until another look where acts may have changed what was decided on."""


def reconcile(
    cluster: Cluster,
    options: Options,
    key: tuple[str, str],
    ledger: Ledger,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> float | None:
    """Bring one import (namespace, name) a step further; seconds until the next look, None when it is gone.

    Raises:
        StepError: where the API refuses or does not answer; the import is looked at again later.
    """
    raw = read_import(cluster, *key)
    if raw is None:
        ledger.forget(key)
        sweep(cluster, options.namespace, left_by(*key))
        return None
    now = clock()
    facts = gather(cluster, options, raw, ledger.foreign(), now)
    decision = decide(facts, options, now)
    actor = Actor(cluster, options, facts, clock)
    for act in decision.acts:
        actor.do(act)
    ledger.note(key, actor.status)
    return decision.again
