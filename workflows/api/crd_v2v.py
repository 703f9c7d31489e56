"""The CustomResourceDefinitions of `v2v.kubevirt.io`; `python -m workflows.api.crd_v2v` prints them.

They are as strict as those of kubevirt/vm-import-operator, with one difference: `target` of a row may also be
a plain name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from steps.model.kinds import RESOURCE_MAPPING, V2V_GROUP, V2V_IMPORT
from steps.model.kinds import Kind as ApiKind
from workflows.api.base import Model
from workflows.api.crd import KEEP, VERSION, program, yaml_of
from workflows.api.schema import strict
from workflows.api.v2v import ResourceMappingSpec, V2vImportSpec, V2vStatus

CHART_FILE: Final = "charts/vmferry/templates/crds/v2v.yaml"
_HEAD: Final = """\
# Made by `python -m workflows.api.crd_v2v --chart` from the models in workflows/; do not edit.
{{- if and .Values.crds.install .Values.v2v.enabled .Values.v2v.installCrds }}
"""
Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of resource."""

    api: ApiKind
    description: str
    spec: type[Model]
    status: type[Model] | None
    short_names: tuple[str, ...] = ()


KINDS: Final = (
    Kind(V2V_IMPORT, "A VM to import into KubeVirt from a source.", V2vImportSpec, V2vStatus, ("vmimports",)),
    Kind(
        RESOURCE_MAPPING,
        "Networks and storage classes for the networks and storages of sources, for many imports.",
        ResourceMappingSpec,
        None,
    ),
)


def manifests() -> list[Json]:
    """The definitions, as the API accepts them."""
    return [_manifest(kind) for kind in KINDS]


def _manifest(kind: Kind) -> Json:
    names: Json = {
        "kind": kind.api.kind,
        "listKind": f"{kind.api.kind}List",
        "plural": kind.api.plural,
        "singular": kind.api.kind.lower(),
        "categories": ["all"],
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.api.resource, "annotations": dict(KEEP)},
        "spec": {
            "group": V2V_GROUP,
            "names": names,
            "scope": "Namespaced",
            "preserveUnknownFields": False,
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> Json:
    status = strict(kind.status) if kind.status else {"type": "object"}
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": kind.description,
                "properties": {"spec": strict(kind.spec), "status": status},
            }
        },
    }


def render(*, chart: bool = False) -> str:
    """The definitions as YAML; for the chart, as a template that values can disable."""
    return yaml_of(manifests(), _HEAD if chart else "")


def main(argv: Sequence[str] | None = None) -> None:
    program("workflows.api.crd_v2v", __doc__, CHART_FILE, render, argv)


if __name__ == "__main__":
    main()
