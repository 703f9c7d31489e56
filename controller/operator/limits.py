"""The limits' ConfigMap: a key for each source, as Argo's semaphores need one, that follows the default.

The controller copies the default for a source that has no key yet and marks the copy. A marked key follows
the default, until a person or the chart's `limits.perSource` gives it a value of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from controller.operator.options import Options
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, GROUP, Object
from steps.model.plan import SourcePlan
from steps.runtime.cluster import Cluster
from workflows import argo_names
from workflows.stages import Limit

COPIED: Final = f"{GROUP}/copied-defaults"
"""Annotation: the marked keys with the values that were copied (JSON)."""
PER_SOURCE: Final = f"{GROUP}/per-source"
"""Annotation that the chart writes: the keys of `limits.perSource`, with spaces between them."""


def keep(cluster: Cluster, options: Options, source: SourcePlan | None = None) -> None:
    """Bring the marked keys up to date, and give `source` the keys that it lacks.

    Raises:
        StepError: NOT_FOUND without that ConfigMap; ChangedError when somebody else just wrote to it.
    """
    found = cluster.get(CONFIG_MAP, argo_names.LIMITS, options.namespace)
    if found is None:
        what = f"ConfigMap {options.namespace}/{argo_names.LIMITS} does not exist"
        raise StepError(Exit.NOT_FOUND, what, remedy="install or upgrade the chart")
    keys = [argo_names.limit_key(argo_names.source_key(source), limit) for limit in Limit] if source else []
    change = changes(found, keys, options.defaults)
    if change is not None:
        cluster.patch(CONFIG_MAP, argo_names.LIMITS, change, options.namespace)


def changes(found: Object, wanted: Iterable[str], defaults: Mapping[Limit, int]) -> Object | None:
    """The patch for the ConfigMap `found`, in which the keys `wanted` must be; None when all is well. Pure.

    It holds for the version that was read only: the marks are one text, and others write to it too.
    """
    data = found.get("data") or {}
    before, own = _copied(found), set(_notes(found).get(PER_SOURCE, "").split())
    following = {key for key, value in before.items() if data.get(key) == value and key not in own}
    following |= {key for key in wanted if key not in data}
    after = {key: _default(key, data, defaults) for key in sorted(following)}
    if after == before:
        return None
    return {
        "metadata": {
            "resourceVersion": found["metadata"]["resourceVersion"],
            "annotations": {COPIED: json.dumps(after)},
        },
        "data": {key: value for key, value in after.items() if data.get(key) != value},
    }


def _copied(found: Object) -> dict[str, str]:
    """The marks; none when somebody wrote something else there."""
    try:
        marks = json.loads(_notes(found).get(COPIED, "{}"))
    except ValueError:
        return {}
    known = marks.items() if isinstance(marks, dict) else ()
    return {key: str(value) for key, value in known if key.rpartition(".")[2] in list(Limit)}


def _default(key: str, data: Mapping[str, str], defaults: Mapping[Limit, int]) -> str:
    limit = Limit(key.rpartition(".")[2])
    return data.get(argo_names.limit_key(argo_names.DEFAULT, limit), str(defaults[limit]))


def _notes(found: Object) -> dict[str, str]:
    return found["metadata"].get("annotations") or {}
