"""The CustomResourceDefinitions, made from the models; `python -m workflows.api.crd` prints them.

They accept every manifest that the CRDs of vm-import-controller accept. Names, plurals and the first printer
column are the same; additional columns follow. ImportMapping, ImportHook and MigrationPlan are kinds of
vmferry only, and strict.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from steps.model.kinds import GROUP, IMPORT_HOOK, IMPORT_MAPPING, MIGRATION_PLAN
from workflows.api.base import Model, rules
from workflows.api.import_hook import ImportHookSpec
from workflows.api.mapping import ImportMappingSpec
from workflows.api.migration_plan import LONGEST_PLAN, MigrationPlanSpec, MigrationPlanStatus
from workflows.api.schema import strict, structural
from workflows.api.sources import RESOURCES, spec_of
from workflows.api.spec import VirtualMachineImportSpec
from workflows.api.status import ImportStatus, Reported, SourceStatus

VERSION: Final = "v1beta1"
CHART_FILE: Final = "charts/vmferry/templates/crds/crds.yaml"
KEEP: Final = {"helm.sh/resource-policy": "keep"}
"""Uninstalling the chart must not delete all imports and sources."""
_HEAD: Final = """\
# Made by `python -m workflows.api.crd --chart` from the models in workflows/; do not edit.
{{- if .Values.crds.install }}
"""
_FOOT: Final = "{{- end }}\n"

Json = dict[str, Any]


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> Json:
    """A printer column; wide ones show under `-o wide` only."""
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": 1} if wide else {})}


_AGE: Final = _column("Age", ".metadata.creationTimestamp", "date")
_SOURCE: Final = (
    _column("Status", ".status.status"),
    _AGE,
    _column("Message", ".status.message", wide=True),
)
_IMPORT: Final = (
    _column("Status", ".status.importStatus"),
    _column("VM", ".spec.virtualMachineName"),
    _column("Step", ".status.step"),
    _column("%", ".status.percent", "integer"),
    _column("ETA", ".status.eta"),
    _AGE,
    _column("Message", ".status.message", wide=True),
)
_PLAN: Final = (
    _column("Status", ".status.phase"),
    _column("Wave", ".status.progress"),
    _column("Done", ".status.counts.succeeded", "integer"),
    _column("Failed", ".status.counts.failed", "integer"),
    _column("VMs", ".status.counts.total", "integer"),
    _AGE,
    _column("Message", ".status.message", wide=True),
)


@dataclass(frozen=True)
class Kind:
    """One kind of resource."""

    name: str
    description: str
    spec: type[Model]
    status: type[Reported] | None
    """None for a kind without a status."""
    columns: tuple[Json, ...]
    is_strict: bool = False
    """Whether no manifest of vm-import-controller can have the kind."""
    rules: tuple[tuple[str, str], ...] = ()
    """Rules in CEL about the whole object, each with its message."""

    @property
    def plural(self) -> str:
        return f"{self.name.lower()}s"

    @property
    def spec_schema(self) -> Json:
        return strict(self.spec) if self.is_strict else structural(self.spec)


KINDS: Final = (
    Kind(
        "VirtualMachineImport",
        "A VM to import from a source.",
        VirtualMachineImportSpec,
        ImportStatus,
        _IMPORT,
    ),
    *(Kind(kind, spec_of(kind).SUMMARY, spec_of(kind), SourceStatus, _SOURCE) for kind in RESOURCES),
    Kind(
        IMPORT_MAPPING.kind,
        "Rows for networks, storage and disks, which many imports share.",
        ImportMappingSpec,
        None,
        (_AGE,),
        is_strict=True,
    ),
    Kind(
        IMPORT_HOOK.kind,
        "A hook that imports may run before or after a stage.",
        ImportHookSpec,
        None,
        (
            _column("Timeout", ".spec.timeoutSeconds", "integer"),
            _column("On failure", ".spec.onFailure"),
            _AGE,
        ),
        is_strict=True,
    ),
    Kind(
        MIGRATION_PLAN.kind,
        "VMs of a source that are imported in waves.",
        MigrationPlanSpec,
        MigrationPlanStatus,
        _PLAN,
        is_strict=True,
        rules=(
            (
                f"self.metadata.name.size() <= {LONGEST_PLAN}",
                f"the name of a plan has at most {LONGEST_PLAN} characters: the names of its imports begin "
                "with it",
            ),
        ),
    ),
)


def manifests() -> list[Json]:
    """The definitions, as the API accepts them."""
    return [_manifest(kind) for kind in KINDS]


def _manifest(kind: Kind) -> Json:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "annotations": dict(KEEP)},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
            },
            "scope": "Namespaced",
            "preserveUnknownFields": False,
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> Json:
    status = {"status": structural(kind.status)} if kind.status is not None else {}
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        **({"subresources": {"status": {}}} if status else {}),
        "additionalPrinterColumns": [dict(column) for column in kind.columns],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": kind.description,
                **({"required": ["spec"]} if kind.is_strict else {}),
                **(rules(*kind.rules) if kind.rules else {}),
                "properties": {"spec": kind.spec_schema, **status},
            }
        },
    }


def render(*, chart: bool = False) -> str:
    """The definitions as YAML; for the chart, as a template that a value can disable."""
    return yaml_of(manifests(), _HEAD if chart else "")


def yaml_of(definitions: Iterable[Json], head: str = "") -> str:
    """Definitions as YAML; with `head`, as a template of the chart that begins with it."""
    # Only printing needs a YAML library. The controller compares the manifests as objects.
    from steps.model.yaml import to_yaml  # noqa: PLC0415

    text = "".join(f"---\n{to_yaml(definition)}" for definition in definitions)
    return f"{head}{text}{_FOOT}" if head else text


def program(
    module: str, about: str | None, chart_file: str, render: Callable[..., str], argv: Sequence[str] | None
) -> None:
    """The program of a module that prints definitions."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--chart", action="store_true", help=f"print them as in {chart_file}")
    sys.stdout.write(render(chart=parser.parse_args(argv).chart))


def main(argv: Sequence[str] | None = None) -> None:
    program("workflows.api.crd", __doc__, CHART_FILE, render, argv)


if __name__ == "__main__":
    main()
