"""Runs of deleted imports whose sources may still hold something. Each is cleaned up, then deleted.

An import is not kept for days because its source does not answer. Its request stays instead, with the label
`LABEL_LEFTOVERS`, the plan and the copy of the credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final

import structlog

from controller.operator.act.actor import Actor
from controller.operator.checkpods.runner import CheckPods
from controller.operator.decide.actions import Action, DeleteRuns, RunCleanup
from controller.operator.decide.leftovers import at_source, what, where
from controller.operator.decide.orphan import decide
from controller.operator.observe.facts import Facts
from controller.operator.observe.orphan import gather_orphan
from controller.operator.options import Options
from controller.operator.sweep import import_exists
from steps.model import names
from steps.model.kinds import CONFIG_MAP, Object
from steps.runtime.cluster import Cluster

log = structlog.get_logger()

MOST_STARTS: Final = 5
"""Cleanups that one pass starts: a source that answers again is not asked by hundreds of pods at once.

Namespaces take turns: hundreds of deleted imports of one namespace do not delay those of another one.
"""


def clean_up(
    cluster: Cluster,
    options: Options,
    labels: Mapping[str, str] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Continue the cleanup of each such run, with `labels` only of those that have them.

    Returns the number of runs that are not done.

    Raises:
        StepError: where the API refuses or does not answer.
    """
    remaining = starts = 0
    found = cluster.outlines(CONFIG_MAP, options.namespace, names.LABEL_LEFTOVERS)
    for outline in _in_turns(found):
        own_labels = _labels_of(outline)
        if not (labels or {}).items() <= own_labels.items() or import_exists(cluster, own_labels):
            continue
        actions = _continue(
            cluster, options, outline["metadata"]["name"], clock, may_start=starts < MOST_STARTS
        )
        starts += any(isinstance(action, RunCleanup) for action in actions)
        remaining += not any(isinstance(action, DeleteRuns) for action in actions)
    return remaining


def _in_turns(found: Iterable[Object]) -> Iterator[Object]:
    """One of each namespace, then the next one of each."""
    by_namespace: dict[str, list[Object]] = {}
    for one in found:
        by_namespace.setdefault(str(_labels_of(one).get(names.LABEL_NAMESPACE, "")), []).append(one)
    for turn in zip_longest(*by_namespace.values()):
        yield from (one for one in turn if one is not None)


def _labels_of(outline: Object) -> Mapping[str, str]:
    return outline["metadata"].get("labels") or {}


def _continue(
    cluster: Cluster, options: Options, name: str, clock: Callable[[], datetime], *, may_start: bool
) -> tuple[Action, ...]:
    request = cluster.get(CONFIG_MAP, name, options.namespace)
    if request is None:
        return ()
    facts = gather_orphan(cluster, options, request)
    if facts is None or facts.request is None:
        return _delete_unreadable(cluster, options, request)
    now = clock()
    actions = decide(facts, now)
    if not may_start and any(isinstance(action, RunCleanup) for action in actions):
        return ()
    actor = Actor(cluster, options, CheckPods(cluster, options), facts, clock)  # it makes no dry run
    for action in actions:
        actor.do(action)
    if any(isinstance(action, DeleteRuns) for action in actions):
        _log_end(facts, now)
    return actions


def _delete_unreadable(cluster: Cluster, options: Options, request: Object) -> tuple[Action, ...]:
    """A request of another version, or one that is not of this import, does not say what to release."""
    run = str((request["metadata"].get("labels") or {}).get(names.LABEL_RUN, ""))
    log.warning(f"the request of run {run} cannot be read; its source may still hold something of it")
    cluster.delete(CONFIG_MAP, request["metadata"]["name"], options.namespace, uid=request["metadata"]["uid"])
    return (DeleteRuns((run,)),)


def _log_end(facts: Facts, now: datetime) -> None:
    found, source = at_source(facts, now), where(facts)
    if found.left == ():
        log.info(f"{source} holds nothing of the deleted import {facts.namespace}/{facts.name} any more")
    else:
        log.warning(
            f"{source} may still hold {what(found)} of the deleted import {facts.namespace}/{facts.name}; "
            "vmferry does not try to release it any more: check it"
        )
