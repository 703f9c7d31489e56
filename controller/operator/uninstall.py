"""`python -m controller.operator.uninstall`: the chart's pre-delete hook, which may refuse to uninstall.

Without the controller nothing removes our finalizer from an import, releases what it holds at its source, or
deletes the copy of its credentials. So the hook refuses while an import has the finalizer, and deletes the
leftovers of deleted imports. Exit codes: 0 the chart may be uninstalled; otherwise the code of the reason.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import structlog

from controller.operator import telemetry
from controller.operator.observe.facts import FINALIZER
from controller.operator.options import Options
from controller.operator.sweep import sweep
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, V2V_IMPORT, Object
from steps.runtime.cluster import Cluster, each
from steps.runtime.kubeapi import connect
from steps.runtime.program import write_termination_message
from steps.runtime.stop import Stop

log = structlog.get_logger()

PATIENCE: Final = 60.0
"""Seconds that a request may stay unanswered."""
SHOWN: Final = 10
"""So many imports are named."""
ANYWAY: Final = "or uninstall with --no-hooks and clean up by hand (docs/how-to/install.md, Uninstall)"


def check(cluster: Cluster, options: Options) -> str:
    """Delete the leftovers of deleted imports; returns a sentence about it.

    Raises:
        StepError: BUSY while an import has our finalizer, or a deleted one has left something at its
            source; CONFLICT if runs are left but the CRDs are deleted.
    """
    try:
        imports = [
            import_ for space in options.namespaces or ("",) for import_ in _with_finalizer(cluster, space)
        ]
    except StepError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        return _without_kinds(cluster, options.namespace)
    if imports:
        failure = f"vmferry is not uninstalled: {len(imports)} import(s) still need it"
        remedy = f"wait until they are done, delete them, {ANYWAY}"
        raise StepError(Exit.BUSY, failure, _listed(imports), remedy)
    removed = sweep(cluster, options.namespace)
    _refuse_leftovers(cluster, options.namespace)
    return f"no import needs vmferry; deleted {len(removed)} leftover(s)"


def _refuse_leftovers(cluster: Cluster, namespace: str) -> None:
    """Without the controller nothing would release what deleted imports left at their sources."""
    left = list(cluster.outlines(CONFIG_MAP, namespace, names.LABEL_LEFTOVERS))
    if left:
        count = f"{len(left)} deleted import(s)"
        raise StepError(
            Exit.BUSY,
            f"vmferry is not uninstalled: {count} may have left something at their sources",
            ", ".join(one["metadata"]["name"] for one in left[:SHOWN]),
            f"wait until vmferry has released it, or give up: kubectl --namespace {namespace} delete "
            f"configmap --selector {names.LABEL_LEFTOVERS}=true",
        )


def _with_finalizer(cluster: Cluster, namespace: str) -> list[Object]:
    imports = itertools.chain(each(cluster, IMPORT, namespace), _v2v_imports(cluster, namespace))
    return [import_ for import_ in imports if FINALIZER in (import_["metadata"].get("finalizers") or [])]


def _v2v_imports(cluster: Cluster, namespace: str) -> Iterator[Object]:
    """The imports of the other dialect, if the cluster has it."""
    try:
        yield from each(cluster, V2V_IMPORT, namespace)
    except StepError as error:
        if error.code not in (Exit.NOT_FOUND, Exit.DENIED):
            raise


def _listed(imports: Sequence[Object]) -> str:
    lines = [f"{_name(import_)} ({_state(import_)})" for import_ in imports[:SHOWN]]
    return ", ".join(lines) + (f" and {len(imports) - SHOWN} more" if len(imports) > SHOWN else "")


def _name(import_: Object) -> str:
    return f"{import_['metadata']['namespace']}/{import_['metadata']['name']}"


def _state(import_: Object) -> str:
    if import_["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    return str((import_.get("status") or {}).get("importStatus") or "not started")


def _without_kinds(cluster: Cluster, namespace: str) -> str:
    """The CRDs and all imports are deleted, so the owner of a run cannot be found."""
    left = [config_map for config_map in cluster.find(CONFIG_MAP, namespace) if _is_request(config_map)]
    if left:
        raise StepError(
            Exit.CONFLICT,
            f"vmferry is not uninstalled: {len(left)} run(s) of imports are left in namespace {namespace}",
            "the CustomResourceDefinitions were deleted, so vmferry cannot check whether the runs are needed",
            f"kubectl --namespace {namespace} delete configmap --selector {names.LABEL_UID}; {ANYWAY}",
        )
    return "there are no imports and no leftovers"


def _is_request(config_map: Object) -> bool:
    labels = config_map["metadata"].get("labels") or {}
    return names.LABEL_RUN in labels and not config_map["metadata"].get("ownerReferences")


def main() -> int:
    """Check, print the result where Helm and `kubectl describe` show it, and return the exit code."""
    telemetry.configure(debug=False)
    try:
        log.info(check(connect(Stop(), patience=PATIENCE), Options.read()))
    except StepError as error:
        write_termination_message(str(error))
        return int(error.code)
    return int(Exit.DONE)


if __name__ == "__main__":
    sys.exit(main())
