"""What the controller knows of imports of `v2v.kubevirt.io`, in ConfigMaps of the release namespace.

The engine resumes a run from its status, so nobody else may write it. The status of this dialect has no field
for it, and an annotation can be written by everybody who may edit the import. So the engine's status of an
import is in a ConfigMap of its own; so is the result of the last check of a Secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from steps.model import names
from steps.model.kinds import CONFIG_MAP, Kind, Object
from steps.runtime.cluster import SMALL_PAGE, Cluster, ExistsError
from workflows.api.status import ImportStatus, SourceStatus

IMPORT_STATUS: Final = "import.json"
SOURCE_STATUS: Final = "source.json"
_OURS: Final = {"app.kubernetes.io/name": "vmferry"}


def import_state_name(uid: str) -> str:
    """The ConfigMap with the engine's status of an import."""
    return f"vmferry-import-{hashlib.sha256(uid.encode()).hexdigest()[:20]}"


def source_state_name(kind: Kind, namespace: str, name: str) -> str:
    """The ConfigMap with the result of the last check of a Secret (`steps.model.kinds.SECRET_SOURCES`)."""
    text = f"{kind.kind}/{namespace}/{name}"
    return f"vmferry-source-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def read_import(cluster: Cluster, release: str, uid: str) -> ImportStatus | None:
    """The engine's status of an import; None if there is none yet. Raises StepError."""
    found = cluster.get(CONFIG_MAP, import_state_name(uid), release)
    return None if found is None else ImportStatus.read(_document(found, IMPORT_STATUS))


def read_imports(cluster: Cluster, release: str) -> dict[str, ImportStatus]:
    """The engine's status of every import without its disks, by the label with its uid. Raises StepError."""
    found, more = {}, ""
    while True:
        page = cluster.page(CONFIG_MAP, release, label=names.LABEL_API, limit=SMALL_PAGE, more=more)
        for one in page.items:
            if IMPORT_STATUS in (one.get("data") or {}):
                status = ImportStatus.read(_document(one, IMPORT_STATUS))
                uid = str(one["metadata"]["labels"].get(names.LABEL_UID, ""))
                found[uid] = status.model_copy(update={"disk_import_status": ()})
        more = page.more
        if not more:
            return found


def write_import(cluster: Cluster, release: str, import_: Object, status: ImportStatus) -> None:
    """Store the engine's status of an import. Raises StepError."""
    metadata = import_["metadata"]
    labels = names.import_labels(
        import_["apiVersion"], str(metadata["namespace"]), str(metadata["name"]), str(metadata["uid"])
    )
    name = import_state_name(str(metadata["uid"]))
    _write(cluster, release, name, labels, {IMPORT_STATUS: status.to_document()})


def read_source(cluster: Cluster, release: str, kind: Kind, namespace: str, name: str) -> SourceStatus:
    """The result of the last check of a Secret; an empty one if there was none. Raises StepError."""
    found = cluster.get(CONFIG_MAP, source_state_name(kind, namespace, name), release)
    return SourceStatus.read(_document(found or {}, SOURCE_STATUS))


def write_source(
    cluster: Cluster, release: str, kind: Kind, namespace: str, name: str, status: SourceStatus
) -> None:
    """Store the result of a check of a Secret. Raises StepError."""
    state = source_state_name(kind, namespace, name)
    _write(cluster, release, state, {}, {SOURCE_STATUS: status.to_document()})


def delete_source(cluster: Cluster, release: str, kind: Kind, namespace: str, name: str) -> None:
    """Forget the check of a Secret that no import needs. Raises StepError."""
    cluster.delete(CONFIG_MAP, source_state_name(kind, namespace, name), release)


def _write(
    cluster: Cluster, release: str, name: str, labels: Mapping[str, str], documents: Mapping[str, Any]
) -> None:
    data = {key: json.dumps(document) for key, document in documents.items()}
    if cluster.patch(CONFIG_MAP, name, {"data": data}, release) is not None:
        return
    metadata = {"name": name, "namespace": release, "labels": {**_OURS, **labels}}
    new = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.kind, "metadata": metadata, "data": data}
    try:
        cluster.create(new)
    except ExistsError:  # our own request, with a lost answer
        cluster.patch(CONFIG_MAP, name, {"data": data}, release)


def _document(config_map: Object, key: str) -> Any:
    """A document that only the controller writes; None if it is missing or of another form."""
    try:
        return json.loads((config_map.get("data") or {}).get(key, ""))
    except ValueError:
        return None
