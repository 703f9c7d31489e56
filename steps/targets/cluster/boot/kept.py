"""Where the screenshot and the end of the console are kept, so that a person can see them after a failure.

In a cluster they are in a ConfigMap of the release namespace, which goes with the import: no right in the
namespaces of tenants is needed for that. `vmferry run` has a folder.
"""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Final, Protocol

from steps.model import names
from steps.model.document import write_atomically
from steps.model.kinds import CONFIG_MAP, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster, ExistsError
from steps.targets.cluster.ownership import refuse_foreign

FOLDER: Final = "boot-check"
"""In the folder of an embedded import."""


class Keeper(Protocol):
    """Keeps the evidence of one boot."""

    def keep(self, name: str, console: str, picture: bytes) -> str:
        """Keep both, each only if there is one; `name` tells the boots of an import apart.

        Returns where they are, for a person; empty if there was nothing to keep.

        Raises:
            StepError: the errors of the API.
        """


class ConfigMapKeeper:
    """Keeps it in the ConfigMap RUN-boot, which the request of the run owns."""

    def __init__(self, cluster: Cluster, plan: Plan, namespace: str) -> None:
        self._cluster = cluster
        self._plan = plan
        self._namespace = namespace

    def keep(self, name: str, console: str, picture: bytes) -> str:
        if not console and not picture:
            return ""
        files: Object = {"data": {f"console-{name}.txt": console}} if console else {}
        if picture:
            files["binaryData"] = {f"screen-{name}.png": base64.b64encode(picture).decode()}
        config_map = names.boot(self._plan.run)
        where = f"ConfigMap {self._namespace}/{config_map}"
        metadata: Object = {
            "name": config_map,
            "namespace": self._namespace,
            "labels": names.run_labels(self._plan),
        }
        request = self._cluster.get(CONFIG_MAP, names.request(self._plan.run), self._namespace)
        if request is None:
            return ""  # the import was deleted meanwhile, and nothing would delete the ConfigMap
        owner = CONFIG_MAP.owner_reference(request["metadata"]["name"], request["metadata"]["uid"])
        metadata["ownerReferences"] = [owner]
        kind = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.kind}
        with contextlib.suppress(ExistsError):
            self._cluster.create({**kind, "metadata": metadata, **files})
            return where
        existing = self._cluster.get(CONFIG_MAP, config_map, self._namespace)
        if existing is not None:
            refuse_foreign(existing, self._plan)
            self._cluster.patch(CONFIG_MAP, config_map, files, self._namespace)
        return where


class FolderKeeper:
    """Keeps it in files."""

    def __init__(self, into: Path) -> None:
        self._folder = into / FOLDER

    def keep(self, name: str, console: str, picture: bytes) -> str:
        if not console and not picture:
            return ""
        self._folder.mkdir(parents=True, exist_ok=True)
        if console:
            write_atomically(self._folder / f"console-{name}.txt", f"{console}\n")
        if picture:
            (self._folder / f"screen-{name}.png").write_bytes(picture)
        return str(self._folder)
