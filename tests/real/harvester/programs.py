"""The program of tests/real/harvester/go and the objects that it needs, built and kept in the user's cache.

It is built from Go modules only. A build from nothing takes about ten minutes of processor time, so no test
builds it: `python -m tests.real.harvester build` does, and `make e2e` calls that.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ruamel.yaml import YAML

from tests.real import goprogram

SOURCES: Final = Path(__file__).parent / "go"
MODULE: Final = "github.com/harvester/harvester"
Definition = dict[str, Any]


class NotBuiltError(Exception):
    """The program does not exist, or was not built from these sources."""


@dataclass(frozen=True)
class Programs:
    """`folder`: LAB_HARVESTER, or ~/.cache/vmferry/harvester, as LAB_ARGO in tests/real/lab/settings.sh."""

    folder: Path

    @classmethod
    def found(cls) -> Self:
        """The folder, whether they are built or not."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(Path(os.environ.get("LAB_HARVESTER") or cache / "vmferry" / "harvester"))

    @property
    def binary(self) -> Path:
        return self.folder / "harvester"

    @property
    def objects(self) -> Path:
        """The definitions of kinds, and Harvester's settings: one `List`."""
        return self.folder / "objects.json"

    def check(self) -> None:
        """Raises NotBuiltError with the command to run."""
        stale = not goprogram.is_fresh("harvester", SOURCES, self.folder)
        if stale or not self.objects.exists() or self.objects.stat().st_mtime < self.binary.stat().st_mtime:
            why = "is not there" if not self.binary.exists() else "is not whole, or not of these sources"
            raise NotBuiltError(f"{self.binary} {why}: python -m tests.real.harvester build makes it")

    def build(self, *, keep: bool = False) -> None:
        """Build what is missing or stale, at a low priority.

        It has Go's caches of its own and removes them afterwards: nothing else needs them. With `keep` it
        uses those of the user, which stay.
        """
        with contextlib.suppress(NotBuiltError):
            self.check()
            return
        os.nice(10)
        caches = self.folder / "go"
        own = {"GOCACHE": str(caches / "build"), "GOMODCACHE": str(caches / "modules")}
        # -modcacherw: so that the folder can be removed
        environment = {"CGO_ENABLED": "0", "GOFLAGS": "-modcacherw", **({} if keep else own)}
        flags = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w")
        try:
            goprogram.build("harvester", SOURCES, self.folder, flags=flags, environment=environment)
            modules = Modules({**os.environ, **environment})
            items = [*_printed(self.binary), *(loosened(one) for one in modules.definitions())]
            partial = self.objects.with_suffix(".partial")
            partial.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
            partial.replace(self.objects)
        finally:
            shutil.rmtree(caches, ignore_errors=True)


def _printed(binary: Path) -> Iterator[Definition]:
    done = subprocess.run([binary, "objects"], check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        document = json.loads(line)
        document.pop("status", None)
        yield document


@dataclass(frozen=True)
class Modules:
    """The modules of the program; `environment` tells Go their folders."""

    environment: Mapping[str, str]

    def definitions(self) -> Iterator[Definition]:
        """The definitions in Harvester's charts and in the modules that it depends on."""
        charts = self._folder(MODULE) / "deploy" / "charts"
        for path in sorted((charts / "harvester-crd" / "templates").glob("*.yaml")):
            if "kubevirt" not in path.name:  # the program prints that of its own version
                yield from _definitions(path.read_text())
        for chart, member in CHARTS:
            (archive,) = (charts / "harvester" / "charts").glob(chart)
            yield from _definitions("\n---\n".join(_members(archive, member)))
        for module, pattern in OTHERS:
            found = sorted(self._folder(module).glob(pattern))
            if not found:
                raise FileNotFoundError(f"{pattern} is not in module {module}")
            for path in found:
                yield from _definitions(path.read_text())
        yield from (_empty(*names) for names in LOOSE)

    def _folder(self, module: str) -> Path:
        """The folder in which Go keeps it."""
        argv = ["go", "list", "-m", "-f", "{{.Dir}}", module]
        done = subprocess.run(
            argv, cwd=SOURCES, check=True, capture_output=True, text=True, env=dict(self.environment)
        )
        return Path(done.stdout.strip())


CHARTS: Final = (
    ("longhorn-*.tgz", "longhorn/templates/crds.yaml"),
    ("harvester-network-controller-*.tgz", "harvester-network-controller/templates/crds/"),
)
"""Charts inside Harvester's own, and their folders with definitions."""
LOGGING: Final = "github.com/kube-logging/logging-operator"
OTHERS: Final = (
    ("sigs.k8s.io/cluster-api", "config/crd/bases/cluster.x-k8s.io_clusters.yaml"),
    ("sigs.k8s.io/cluster-api", "config/crd/bases/cluster.x-k8s.io_machines.yaml"),
    (LOGGING, "config/crd/bases/logging.banzaicloud.io_loggings.yaml"),
    (LOGGING, "config/crd/bases/logging.banzaicloud.io_*flows.yaml"),
    (LOGGING, "config/crd/bases/logging.banzaicloud.io_*outputs.yaml"),
    ("github.com/rancher/rancher", "pkg/crds/yaml/*/*.yaml"),
    ("github.com/k8snetworkplumbingwg/network-attachment-definition-client", "artifacts/networks-crd.yaml"),
)
"""Modules that have definitions, and their folders."""
LOOSE: Final = (
    ("management.cattle.io", "v3", "Feature", "features", "Cluster"),
    ("management.cattle.io", "v3", "ManagedChart", "managedcharts", "Namespaced"),
    ("helm.cattle.io", "v1", "HelmChart", "helmcharts", "Namespaced"),
    ("helm.cattle.io", "v1", "HelmChartConfig", "helmchartconfigs", "Namespaced"),
    ("catalog.cattle.io", "v1", "App", "apps", "Namespaced"),
)
"""Kinds that Harvester watches but no module defines."""
ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _empty(group: str, version: str, kind: str, plural: str, scope: str) -> Definition:
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": ANYTHING}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [served]},
    }


def loosened(definition: Definition) -> Definition:
    """Longhorn's BackingImage takes any field.

    Longhorn's webhook fills in the `dataEngine` that Harvester leaves empty. It does not run here, and
    without it Longhorn's own definition refuses every BackingImage that Harvester makes.
    """
    if definition["metadata"]["name"] == "backingimages.longhorn.io":
        for version in definition["spec"]["versions"]:
            version["schema"] = {"openAPIV3Schema": ANYTHING}
    return definition


def _definitions(text: str) -> Iterator[Definition]:
    """The definitions of a YAML stream, without Helm's template lines, which only make labels here."""
    plain = "\n".join(line for line in text.splitlines() if "{{" not in line)
    for document in YAML(typ="safe").load_all(plain):
        if document and document["kind"] == "CustomResourceDefinition":
            document.pop("status", None)
            document["spec"].pop("conversion", None)  # Longhorn's is a webhook of its own
            yield document


def _members(archive: Path, prefix: str) -> Iterator[str]:
    with tarfile.open(archive) as chart:
        for member in chart:
            if member.name.startswith(prefix) and (file := chart.extractfile(member)):
                yield file.read().decode()
