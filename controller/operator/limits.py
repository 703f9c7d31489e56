"""The limits' ConfigMap: Argo's semaphores need a key for each source. The key follows the default.

The controller copies the default for a source without a key and marks the copy. A marked key follows the
default until a person or the chart's `limits.perSource` sets another value.
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


def update(cluster: Cluster, options: Options, source: SourcePlan | None = None) -> None:
    """Update the marked keys, and add the missing keys of `source`.

    Raises:
        StepError: NOT_FOUND without that ConfigMap; ChangedError when another client just wrote to it.
    """
    config_map = cluster.get(CONFIG_MAP, argo_names.LIMITS, options.namespace)
    if config_map is None:
        failure = f"ConfigMap {options.namespace}/{argo_names.LIMITS} does not exist"
        raise StepError(Exit.NOT_FOUND, failure, remedy="install or upgrade the chart")
    keys = [argo_names.limit_key(argo_names.source_key(source), limit) for limit in Limit] if source else []
    change = patch_for(config_map, keys, options.defaults)
    if change is not None:
        cluster.patch(CONFIG_MAP, argo_names.LIMITS, change, options.namespace)


def patch_for(config_map: Object, wanted: Iterable[str], defaults: Mapping[Limit, int]) -> Object | None:
    """The patch that adds the keys `wanted` to the `config_map`; None without a change. Pure.

    It is valid only for the version that was read: the marks are one text that others write too.
    """
    data = config_map.get("data") or {}
    before, own = _copied_defaults(config_map), set(_annotations(config_map).get(PER_SOURCE, "").split())
    following = {key for key, value in before.items() if data.get(key) == value and key not in own}
    following |= {key for key in wanted if key not in data}
    after = {key: _default(key, data, defaults) for key in sorted(following)}
    if after == before:
        return None
    return {
        "metadata": {
            "resourceVersion": config_map["metadata"]["resourceVersion"],
            "annotations": {COPIED: json.dumps(after)},
        },
        "data": {key: value for key, value in after.items() if data.get(key) != value},
    }


def _copied_defaults(config_map: Object) -> dict[str, str]:
    """The marks; empty when the annotation is malformed."""
    try:
        marks = json.loads(_annotations(config_map).get(COPIED, "{}"))
    except ValueError:
        return {}
    known = marks.items() if isinstance(marks, dict) else ()
    return {key: str(value) for key, value in known if key.rpartition(".")[2] in list(Limit)}


def _default(key: str, data: Mapping[str, str], defaults: Mapping[Limit, int]) -> str:
    limit = Limit(key.rpartition(".")[2])
    return data.get(argo_names.limit_key(argo_names.DEFAULT, limit), str(defaults[limit]))


def _annotations(config_map: Object) -> dict[str, str]:
    return config_map["metadata"].get("annotations") or {}
