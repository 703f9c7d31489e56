"""The limits' ConfigMap: Argo's semaphores need keys for each account at a source (`workflows.accounts`).

The controller copies values for an account without keys and marks the copies. A marked key follows the rows
of its sources (`limits.perSource` of the chart, or a key that a person wrote), or else the default, until a
person changes it. It is removed when no Workflow needs it any more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, GROUP, WORKFLOW, Object
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster
from workflows import argo_names
from workflows.accounts import limits_key
from workflows.stages import Limit

COPIED: Final = f"{GROUP}/copied-defaults"
"""Annotation: the marked keys with the values that were copied (JSON)."""
ROWS: Final = f"{GROUP}/limit-rows"
"""Annotation: the rows that the keys of an account follow (JSON), for accounts that have any."""
PER_SOURCE: Final = f"{GROUP}/per-source"
"""Annotation that the chart writes: the keys of `limits.perSource`, with spaces between them."""
MOST_COPIES: Final = 1000
"""Marked keys. Each needs some 200 bytes, and a ConfigMap has at most 1 MiB. Further accounts share the keys
of the default."""
PHASE: Final = "workflows.argoproj.io/phase"
"""Argo's label of a Workflow with its phase."""
_KEYS_OF_ROWS: Final = tuple(f"{kind.lower()}." for kind in SourceKind)
"""How the keys of rows begin (`argo_names.row_key`). Workflows of earlier versions use them as their own."""


@dataclass(frozen=True)
class Account:
    """An account whose import is about to start."""

    key: str
    row: str
    """The row of the import's source."""


@dataclass(frozen=True)
class Needed:
    """The keys that Workflows may still use: one that has not succeeded may be retried in Argo."""

    keys: Collection[str]
    rows: bool
    """Whether there is a Workflow of an earlier version."""

    @classmethod
    def of(cls, workflows: Iterable[Object]) -> Needed:
        labels = [workflow["metadata"].get("labels") or {} for workflow in workflows]
        live = [own for own in labels if own.get(PHASE) != "Succeeded"]
        keys = {own[names.LABEL_LIMITS] for own in live if names.LABEL_LIMITS in own}
        return cls(keys, any(names.LABEL_LIMITS not in own for own in live))

    def has(self, key: str) -> bool:
        """Whether a Workflow may use the full key."""
        return self.rows if key.startswith(_KEYS_OF_ROWS) else key.rpartition(".")[0] in self.keys


def prepare(cluster: Cluster, options: Options, source: SourcePlan, credentials: Mapping[str, str]) -> str:
    """Add the missing keys of an account; returns the key of its limits for a Workflow.

    `follow` must not run before the Workflow exists: it would remove the keys.

    Raises:
        StepError: NOT_FOUND without that ConfigMap; ChangedError when another client just wrote to it.
    """
    config_map = _read(cluster, options)
    account = Account(limits_key(source, credentials), argo_names.row_key(source))
    full_keys = _full_keys(account.key)
    known = full_keys <= (config_map.get("data") or {}).keys()
    if not known and len(_copies(config_map)) + len(full_keys) > MOST_COPIES:
        return argo_names.DEFAULT
    _write(cluster, options, patch_for(config_map, options.defaults, account=account))
    return account.key


def follow(cluster: Cluster, options: Options) -> None:
    """Update the marked keys, and remove those that no Workflow needs. Raises StepError as `prepare`."""
    config_map = _read(cluster, options)
    needed = Needed.of(cluster.outlines(WORKFLOW, options.namespace, names.LABEL_UID))
    _write(cluster, options, patch_for(config_map, options.defaults, needed=needed))


def patch_for(
    config_map: Object,
    defaults: Mapping[Limit, int],
    *,
    account: Account | None = None,
    needed: Needed | None = None,
) -> Object | None:
    """The patch that adds the keys of `account` and removes those that are not `needed`. Pure.

    None without a change. It is valid only for the version that was read: the marks are one text that others
    write too.
    """
    data, before = config_map.get("data") or {}, _copies(config_map)
    wanted = {key for key in before if needed is None or needed.has(key)}
    if account is not None:
        wanted |= _full_keys(account.key) - data.keys()
    for key in () if needed is None else needed.keys:  # somebody has deleted it
        wanted |= _full_keys(key) - data.keys()
    rows = _rows(config_map, account, wanted, {key: data[key] for key in data if key not in before})
    after = {key: _value(key, rows, data, defaults) for key in sorted(wanted)}
    notes = {COPIED: after, ROWS: rows}
    gone = dict.fromkeys(before.keys() - wanted)
    changed = {key: value for key, value in after.items() if data.get(key) != value}
    if not gone and not changed and all(_annotation(config_map, name) == notes[name] for name in notes):
        return None
    return {
        "metadata": {
            "resourceVersion": config_map["metadata"]["resourceVersion"],
            "annotations": {name: json.dumps(value) if value else None for name, value in notes.items()},
        },
        "data": {**gone, **changed},
    }


def _full_keys(key: str) -> set[str]:
    return {argo_names.limit_key(key, limit) for limit in Limit}


def _read(cluster: Cluster, options: Options) -> Object:
    config_map = cluster.get(CONFIG_MAP, argo_names.LIMITS, options.namespace)
    if config_map is None:
        failure = f"ConfigMap {options.namespace}/{argo_names.LIMITS} does not exist"
        raise StepError(Exit.NOT_FOUND, failure, remedy="install or upgrade the chart")
    return config_map


def _write(cluster: Cluster, options: Options, change: Object | None) -> None:
    if change is not None:
        cluster.patch(CONFIG_MAP, argo_names.LIMITS, change, options.namespace)


def _copies(config_map: Object) -> dict[str, str]:
    """The marked keys whose values nobody has changed since they were copied."""
    data = config_map.get("data") or {}
    own = set(_annotations(config_map).get(PER_SOURCE, "").split())
    marks = _annotation(config_map, COPIED).items()
    return {
        key: value
        for key, value in marks
        if key.rpartition(".")[2] in list(Limit) and data.get(key) == value and key not in own
    }


def _rows(
    config_map: Object, account: Account | None, wanted: Collection[str], written: Mapping[str, str]
) -> dict[str, list[str]]:
    """By account, its rows that still exist; `written` are the keys that are no copies."""
    noted = {
        key: [str(row) for row in listed]
        for key, listed in _annotation(config_map, ROWS).items()
        if isinstance(listed, list)
    }
    if account is not None:
        noted[account.key] = sorted({*noted.get(account.key, []), account.row})
    used = {key.rpartition(".")[0] for key in wanted}
    existing = {key.rpartition(".")[0] for key in written}
    found = {key: [row for row in listed if row in existing] for key, listed in noted.items() if key in used}
    return {key: listed for key, listed in sorted(found.items()) if listed}


def _value(
    key: str, rows: Mapping[str, list[str]], data: Mapping[str, str], defaults: Mapping[Limit, int]
) -> str:
    """The least of the rows that set the limit, or else the default."""
    account, _, name = key.rpartition(".")
    limit = Limit(name)
    written = [data.get(argo_names.limit_key(row, limit), "") for row in rows.get(account, [])]
    numbers = [int(text) for text in written if text.isdecimal() and len(text) < 10]
    default = data.get(argo_names.limit_key(argo_names.DEFAULT, limit), str(defaults[limit]))
    return str(min(numbers)) if numbers else default


def _annotation(config_map: Object, name: str) -> dict[str, Any]:
    """The mapping in an annotation; empty when it is malformed."""
    try:
        found = json.loads(_annotations(config_map).get(name, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _annotations(config_map: Object) -> dict[str, str]:
    return config_map["metadata"].get("annotations") or {}
