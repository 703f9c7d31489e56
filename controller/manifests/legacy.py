"""Manifests of before Harvester v1.1 as those of `migration.harvesterhci.io/v1beta1`.

Two shapes: the groups `source.` and `importjob.harvesterhci.io` as vm-import-controller had them first
(112008b, pkg/apis), and what the enhancement proposal before that sketched (kind Vsphere, `vmName`, `path`,
`mapping`). Documents are changed where they stand, so that comments and the order of fields stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from controller.manifests.read import OLD_GROUPS, line_of
from controller.manifests.yamledit import comments, is_merged, remove, rename
from steps.model.kinds import API_VERSION, GROUP
from steps.model.naming import DNS_LABEL, normalise
from workflows.api.spec import (
    Model,
    NetworkMapping,
    OpenstackSourceSpec,
    SecretReference,
    SourceReference,
    VirtualMachineImportSpec,
    VmwareSourceSpec,
)

SOURCES: Final = {
    "vmware": "VmwareSource",
    "vsphere": "VmwareSource",
    "openstack": "OpenstackSource",
    "vmwaresource": "VmwareSource",
    "openstacksource": "OpenstackSource",
}
"""Kinds of sources, in lower case, by what they are called now."""
RENAMED: Final = {"vmName": "virtualMachineName", "path": "folder", "mapping": "networkMapping"}
NAME_LENGTH: Final = 253
METADATA: Final = ("name", "namespace", "labels", "annotations")
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
WHY: Final = {
    "status": "a new controller finds it out anew",
    "spec.dc": "an OpenStack project is `project_name` in the Secret",
}
"""What to say of fields that are left out, beyond that they have no place."""


class Migration:
    """One file's documents on their way; `warnings` and `faults` are lines `FILE:LINE: FIELD: WHAT`."""

    def __init__(self, where: str, sources: Mapping[str, set[tuple[str, str]]]) -> None:
        self.warnings: list[str] = []
        self.faults: list[str] = []
        self._where = where
        self._sources = sources
        self._document: CommentedMap = CommentedMap()

    def convert(self, document: Any) -> None:
        """Change a document of an old group, or the items of a list of them; others stay as they are."""
        if not isinstance(document, CommentedMap):
            return
        if document.get("kind") == "List" and isinstance(document.get("items"), CommentedSeq):
            for item in document["items"]:
                self.convert(item)
        elif group_of(document) in OLD_GROUPS:
            self._document = document
            before = Counter(comments(document))
            self._convert(document)
            lost = before - Counter(comments(document))
            self.warnings += [f"{self._where}: comment left out: {text}" for text in lost.elements()]

    def _convert(self, document: CommentedMap) -> None:
        kind = str(document.get("kind", ""))
        is_import = group_of(document).startswith("importjob.") and kind == "VirtualMachine"
        if not is_import and kind.lower() not in SOURCES:
            known = ", ".join(dict.fromkeys(SOURCES.values()))
            self._fault(("kind",), f"nothing imports from a {kind!r}; there are: {known}")
            return
        self._metadata(document)
        self._keep_only(document, ("apiVersion", "kind", "metadata", "spec"), ())
        document["apiVersion"] = API_VERSION
        document["kind"] = "VirtualMachineImport" if is_import else SOURCES[kind.lower()]
        spec = document.get("spec")
        if not isinstance(spec, CommentedMap):
            return
        if is_import:
            self._import(spec, document)
        else:
            self._source(spec, document)

    # --- parts

    def _metadata(self, document: CommentedMap) -> None:
        metadata = document.get("metadata")
        if not isinstance(metadata, CommentedMap):
            return
        self._keep_only(metadata, METADATA, ("metadata",))
        if isinstance(annotations := metadata.get("annotations"), CommentedMap) and APPLIED in annotations:
            self._leave_out(annotations, APPLIED, ("metadata", "annotations"))
        for key in ("name", "namespace"):
            self._fit(metadata, key, ("metadata",))

    def _source(self, spec: CommentedMap, document: CommentedMap) -> None:
        model = VmwareSourceSpec if document["kind"] == "VmwareSource" else OpenstackSourceSpec
        credentials = spec.get("credentials")
        if isinstance(credentials, str):
            namespace = _namespace(document)
            spec["credentials"] = CommentedMap(name=credentials, namespace=namespace)
            self._warn(("spec", "credentials"), f"taken for the Secret {namespace}/{credentials}")
        self._reference(spec.get("credentials"), SecretReference, ("spec", "credentials"))
        self._keep_only(spec, fields(model), ("spec",))

    def _import(self, spec: CommentedMap, document: CommentedMap) -> None:
        for old, new in RENAMED.items():
            if old in spec and new in spec:
                self._fault(("spec", old), f"spec.{new} is there as well; keep one of them")
            elif old in spec:
                rename(spec, old, new)
        self._rows(spec)
        if isinstance(source := spec.get("sourceCluster"), str):
            spec["sourceCluster"] = self._found(source, document)
        elif isinstance(source, CommentedMap):
            self._named_source(source)
        self._keep_only(spec, fields(VirtualMachineImportSpec), ("spec",))

    def _rows(self, spec: CommentedMap) -> None:
        """`mapping` was one row in the proposal, and is a list."""
        rows = spec.get("networkMapping")
        if isinstance(rows, CommentedMap):
            rows = CommentedSeq([rows])
            spec["networkMapping"] = rows
        for number, row in enumerate(rows if isinstance(rows, CommentedSeq) else ()):
            if isinstance(row, CommentedMap):
                self._keep_only(row, fields(NetworkMapping), ("spec", "networkMapping", number))

    def _named_source(self, source: CommentedMap) -> None:
        path = ("spec", "sourceCluster")
        if "apiVersion" in source:
            source["apiVersion"] = API_VERSION
        kind = str(source.get("kind", ""))
        if kind.lower() in SOURCES:
            source["kind"] = SOURCES[kind.lower()]
        elif kind:
            self._fault((*path, "kind"), f"nothing imports from a {kind!r}")
        self._reference(source, SourceReference, path)

    def _found(self, name: str, document: CommentedMap) -> CommentedMap:
        """The reference that a bare name stands for: to the one source that was given of that name."""
        there = self._sources.get(name, set())
        kind, namespace = next(iter(there)) if len(there) == 1 else ("VmwareSource", _namespace(document))
        reference = CommentedMap(apiVersion=API_VERSION, kind=kind, name=name, namespace=namespace)
        path = ("spec", "sourceCluster")
        if len(there) != 1:
            count = "several sources" if there else "no source"
            self._warn(path, f"taken for {kind} {namespace}/{name}: {count} of that name given")
        self._reference(reference, SourceReference, path)
        return reference

    def _reference(self, reference: Any, model: type[Model], path: tuple[str, ...]) -> None:
        if isinstance(reference, CommentedMap):
            self._keep_only(reference, fields(model), path)
            for key in ("name", "namespace"):
                self._fit(reference, key, path)

    # --- fields

    def _fit(self, holder: CommentedMap, key: str, path: tuple[str, ...]) -> None:
        """Make a name one that Kubernetes takes."""
        name = holder.get(key)
        if not isinstance(name, str) or not name or _is_name(name):
            return
        holder[key] = normalise(name)
        self._warn((*path, key), f"{name!r} is no name that Kubernetes takes: written as {holder[key]!r}")

    def _keep_only(self, holder: CommentedMap, known: Iterable[str], path: tuple[str | int, ...]) -> None:
        for key in [key for key in holder if key not in known]:
            self._leave_out(holder, key, path)

    def _leave_out(self, holder: CommentedMap, key: Any, path: tuple[str | int, ...]) -> None:
        path = (*path, key)
        why = WHY.get(".".join(map(str, path)), "it has no place any more")
        if is_merged(holder, key):
            self._fault(path, "has no place any more; take it out of what is merged in by `<<`")
        else:
            self._warn(path, f"left out: {why}")
            remove(holder, key)

    def _warn(self, path: Sequence[str | int], what: str) -> None:
        self.warnings.append(self._line(path, what))

    def _fault(self, path: Sequence[str | int], what: str) -> None:
        self.faults.append(self._line(path, what))

    def _line(self, path: Sequence[str | int], what: str) -> str:
        line = line_of(self._document, path)
        return f"{self._where}:{line}: {'.'.join(map(str, path))}: {what}"


def sources_in(documents: Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    """(name as written, kind as it is called now, namespace) of every source, old or new."""
    for document in documents:
        if not isinstance(document, CommentedMap):
            continue
        if document.get("kind") == "List" and isinstance(document.get("items"), CommentedSeq):
            yield from sources_in(document["items"])
        kind = SOURCES.get(str(document.get("kind", "")).lower())
        metadata = document.get("metadata")
        if group_of(document) in (*OLD_GROUPS, GROUP) and kind and isinstance(metadata, CommentedMap):
            yield str(metadata.get("name", "")), kind, _namespace(document)


def group_of(document: CommentedMap) -> str:
    return str(document.get("apiVersion", "")).partition("/")[0]


def fields(model: type[Model]) -> tuple[str, ...]:
    """The fields of a resource's part, as manifests call them."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _namespace(document: CommentedMap) -> Any:
    metadata = document.get("metadata")
    return (metadata.get("namespace") if isinstance(metadata, Mapping) else "") or "default"


def _is_name(name: str) -> bool:
    """Whether the API server takes it as a name (RFC 1123 subdomain)."""
    return len(name) <= NAME_LENGTH and all(DNS_LABEL.fullmatch(part) for part in name.split("."))
