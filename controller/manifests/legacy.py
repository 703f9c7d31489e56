"""Converts manifests from before Harvester v1.1 to `migration.harvesterhci.io/v1beta1`.

Two old forms: the groups `source.` and `importjob.harvesterhci.io` of the first vm-import-controller
(112008b, pkg/apis), and those of the earlier enhancement proposal (kinds Vsphere and Harvester, `vmName`,
`path`, `mapping`). Documents are changed in place, to keep comments and field order. `manifests.read` uses
the result as it is; `vmferry migrate-manifests` writes it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from controller.manifests.yamledit import comments, is_merged, line_of, remove, rename
from steps.model import kubeconfig
from steps.model.kinds import API_VERSION, GROUP
from steps.model.naming import DNS_LABEL, normalise
from steps.model.sources import SourceKind
from workflows.api.base import Model
from workflows.api.sources import spec_of
from workflows.api.spec import NetworkMapping, SecretReference, SourceReference, VirtualMachineImportSpec
from workflows.api.status import ImportPhase

OLD_GROUPS: Final = ("source.harvesterhci.io", "importjob.harvesterhci.io")
SOURCES: Final = {
    "vmware": "VmwareSource",
    "vsphere": "VmwareSource",
    "openstack": "OpenstackSource",
    "harvester": "KubeVirtSource",
    "vmwaresource": "VmwareSource",
    "openstacksource": "OpenstackSource",
    "kubevirtsource": "KubeVirtSource",
}
"""Current kinds of sources, by old kind in lower case."""
RENAMED: Final = {"vmName": "virtualMachineName", "path": "folder", "mapping": "networkMapping"}
NAME_LENGTH: Final = 253
METADATA: Final = ("name", "namespace", "labels", "annotations")
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
WHY: Final = {
    "status": "the controller writes it again",
    "spec.dc": "an OpenStack project is `project_name` in the Secret",
}
"""Reasons for fields that are left out; the default is that no field replaces them."""
_ENDED: Final = (
    "this import has ended: if it is used again, the VM is shut down at its source and imported once more"
)
_BEGUN: Final = "this import was begun: before you use it, stop the former controller and see what it left"


class Migration:
    """Converts one file's documents; `warnings` and `faults` are lines `FILE:LINE: FIELD: WHAT`."""

    def __init__(self, where: str, sources: Mapping[str, set[tuple[str, str]]]) -> None:
        self.warnings: list[str] = []
        self.faults: list[str] = []
        self.converted = 0
        """How many documents of old groups there were."""
        self.where = where
        self._sources = sources
        self._document: CommentedMap = CommentedMap()

    def convert(self, document: Any) -> None:
        """Convert a document of an old group, or the items of a List; others stay unchanged."""
        if not isinstance(document, CommentedMap):
            return
        if document.get("kind") == "List" and isinstance(document.get("items"), CommentedSeq):
            for item in document["items"]:
                self.convert(item)
        elif group_of(document) in OLD_GROUPS:
            self._document = document
            self.converted += 1
            before = Counter(comments(document))
            self._convert(document)
            lost = before - Counter(comments(document))
            self.warnings += [f"{self.where}: comment left out: {text}" for text in lost.elements()]

    def _convert(self, document: CommentedMap) -> None:
        kind = str(document.get("kind", ""))
        is_import = group_of(document).startswith("importjob.") and kind == "VirtualMachine"
        if not is_import and kind.lower() not in SOURCES:
            known = ", ".join(dict.fromkeys(SOURCES.values()))
            self._fault(("kind",), f"unknown kind of source {kind!r}; known: {known}")
            return
        self._metadata(document)
        if is_import:
            self._status(document.get("status"))
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

    def _status(self, status: Any) -> None:
        """Warn of an import that the former controller has carried out, or begun."""
        reached = status.get("importStatus") if isinstance(status, CommentedMap) else None
        if reached:
            ended = reached == ImportPhase.RUNNING
            self._warn(("status", "importStatus"), _ENDED if ended else _BEGUN)

    def _source(self, spec: CommentedMap, document: CommentedMap) -> None:
        model = spec_of(document["kind"])
        credentials = spec.get("credentials")
        if isinstance(credentials, str):
            namespace = _namespace(document)
            spec["credentials"] = CommentedMap(name=credentials, namespace=namespace)
            self._warn(("spec", "credentials"), f"converted to Secret {namespace}/{credentials}")
        self._reference(spec.get("credentials"), SecretReference, ("spec", "credentials"))
        if document["kind"] == SourceKind.KUBEVIRT:  # no controller of the old groups had this source
            self._warn(("spec", "credentials"), f"its Secret needs the key {kubeconfig.KEY}")
        self._keep_only(spec, fields(model), ("spec",))

    def _import(self, spec: CommentedMap, document: CommentedMap) -> None:
        for old, new in RENAMED.items():
            if old in spec and new in spec:
                self._fault(("spec", old), f"spec.{new} is also set; keep one of them")
            elif old in spec:
                rename(spec, old, new)
        self._rows(spec)
        if isinstance(source := spec.get("sourceCluster"), str):
            spec["sourceCluster"] = self._reference_by_name(source, document)
        elif isinstance(source, CommentedMap):
            self._named_source(source)
        self._keep_only(spec, fields(VirtualMachineImportSpec), ("spec",))

    def _rows(self, spec: CommentedMap) -> None:
        """`mapping` was one row in the proposal; now it is a list."""
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
            self._fault((*path, "kind"), f"unknown kind of source {kind!r}")
        self._reference(source, SourceReference, path)

    def _reference_by_name(self, name: str, document: CommentedMap) -> CommentedMap:
        """The reference for a bare name: to the only given source with that name."""
        candidates = self._sources.get(name, set())
        kind, namespace = (
            next(iter(candidates)) if len(candidates) == 1 else ("VmwareSource", _namespace(document))
        )
        reference = CommentedMap(apiVersion=API_VERSION, kind=kind, name=name, namespace=namespace)
        path = ("spec", "sourceCluster")
        if len(candidates) != 1:
            count = "more than one source" if candidates else "no source"
            self._warn(path, f"converted to {kind} {namespace}/{name}: {count} of that name was given")
        self._reference(reference, SourceReference, path)
        return reference

    def _reference(self, reference: Any, model: type[Model], path: tuple[str, ...]) -> None:
        if isinstance(reference, CommentedMap):
            self._keep_only(reference, fields(model), path)
            for key in ("name", "namespace"):
                self._fit(reference, key, path)

    # --- fields

    def _fit(self, holder: CommentedMap, key: str, path: tuple[str, ...]) -> None:
        """Change a name to one that Kubernetes accepts."""
        name = holder.get(key)
        if not isinstance(name, str) or not name or _is_name(name):
            return
        holder[key] = normalise(name)
        self._warn((*path, key), f"{name!r} is not a valid Kubernetes name: changed to {holder[key]!r}")

    def _keep_only(self, holder: CommentedMap, known: Iterable[str], path: tuple[str | int, ...]) -> None:
        for key in [key for key in holder if key not in known]:
            self._leave_out(holder, key, path)

    def _leave_out(self, holder: CommentedMap, key: Any, path: tuple[str | int, ...]) -> None:
        path = (*path, key)
        reason = WHY.get(".".join(map(str, path)), "it has no equivalent")
        if is_merged(holder, key):
            self._fault(path, "it has no equivalent; remove it from the mapping that `<<` merges in")
        else:
            self._warn(path, f"left out: {reason}")
            remove(holder, key)

    def _warn(self, path: Sequence[str | int], message: str) -> None:
        self.warnings.append(self._line(path, message))

    def _fault(self, path: Sequence[str | int], message: str) -> None:
        self.faults.append(self._line(path, message))

    def _line(self, path: Sequence[str | int], message: str) -> str:
        line = line_of(self._document, path)
        return f"{self.where}:{line}: {'.'.join(map(str, path))}: {message}"


def known_sources(documents: Iterable[Any]) -> dict[str, set[tuple[str, str]]]:
    """Current kind and namespace of each source, by its name as written."""
    found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, kind, namespace in sources_in(documents):
        found[name].add((kind, namespace))
    return found


def sources_in(documents: Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    """(name as written, current kind, namespace) of every source, old or new."""
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
    """The field names of a model, as in manifests."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _namespace(document: CommentedMap) -> Any:
    metadata = document.get("metadata")
    return (metadata.get("namespace") if isinstance(metadata, Mapping) else "") or "default"


def _is_name(name: str) -> bool:
    """Whether the API server accepts it as a name (RFC 1123 subdomain)."""
    return len(name) <= NAME_LENGTH and all(DNS_LABEL.fullmatch(part) for part in name.split("."))
