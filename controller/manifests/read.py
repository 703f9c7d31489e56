"""Reads the YAML of `kubectl apply`, and reports every fault with file, line and field."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.composer import ComposerError
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from controller.manifests.corrections import corrections
from controller.manifests.legacy import Migration, known_sources
from controller.manifests.yamledit import line_of
from steps.model.contract import Exit, StepError
from steps.model.kinds import GROUP, V2V_GROUP
from workflows.api.import_hook import ImportHook
from workflows.api.mapping import ImportMapping
from workflows.api.migration_plan import MigrationPlan
from workflows.api.resources import ConfigMap, Secret, VirtualMachineImport
from workflows.api.sources import RESOURCES, Source
from workflows.api.v2v import ResourceMapping, V2vImport

SUFFIXES: Final = (".yaml", ".yml", ".json")
Key = tuple[str, str]
"""(namespace, name)."""

M = TypeVar("M", bound=BaseModel)


@dataclass
class Manifests:
    """The objects found, by namespace and name; sources also by kind in lower case."""

    secrets: dict[Key, Secret] = field(default_factory=dict)
    sources: dict[tuple[str, str, str], Source] = field(default_factory=dict)
    imports: dict[Key, VirtualMachineImport] = field(default_factory=dict)
    import_mappings: dict[Key, ImportMapping] = field(default_factory=dict)
    hooks: dict[Key, ImportHook] = field(default_factory=dict)
    plans: dict[Key, MigrationPlan] = field(default_factory=dict)
    v2v_imports: dict[Key, V2vImport] = field(default_factory=dict)
    """Imports of `v2v.kubevirt.io`, and their mappings."""
    mappings: dict[Key, ResourceMapping] = field(default_factory=dict)
    config_maps: dict[Key, tuple[str, Any]] = field(default_factory=dict)
    """Their lines and contents. Only those that an import names are read (`config_map`)."""
    ignored: list[str] = field(default_factory=list)
    """Objects of other kinds, to report to the user."""
    converted: list[str] = field(default_factory=list)
    """What was changed in manifests from before Harvester v1.1, to report to the user."""


class InvalidManifestsError(StepError):
    """Every fault of the manifests, one per line."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(Exit.INVALID, "the manifests are not valid", " | ".join(faults))


def read(names: Iterable[str]) -> Manifests:
    """Read files, folders of them, or standard input (`-`).

    Raises:
        InvalidManifestsError: with every fault, as `FILE:LINE: FIELD: WHAT`.
    """
    manifests, faults = Manifests(), []
    files = [(where, *parse(where, text)) for name in names for where, text in texts(name)]
    sources = known_sources(document for _, documents, _ in files for document in documents)
    for where, documents, wrong in files:
        migration = Migration(where, sources)
        faults += [*read_documents(documents, migration, manifests), *wrong]
        if migration.converted:
            used = (
                "manifests from before Harvester v1.1 are used as `vmferry migrate-manifests` converts them"
            )
            manifests.converted += [f"{where}: {used}", *migration.warnings]
    if faults:
        raise InvalidManifestsError(faults)
    _use_config_maps(manifests)
    return manifests


def _use_config_maps(manifests: Manifests) -> None:
    """Report no ConfigMap as ignored that an import names."""
    for (namespace, _), import_ in manifests.imports.items():
        guest = import_.spec.guest
        name = guest.first_boot.name if guest is not None and guest.first_boot is not None else ""
        line = f"{manifests.config_maps.get((namespace, name), ('', None))[0]}: ConfigMap"
        if line in manifests.ignored:
            manifests.ignored.remove(line)


def config_map(manifests: Manifests, namespace: str, name: str) -> ConfigMap | None:
    """A ConfigMap of the manifests; None if it is not given.

    Raises:
        InvalidManifestsError: it is malformed.
    """
    here, document = manifests.config_maps.get((namespace, name), ("", None))
    if document is None:
        return None
    try:
        return ConfigMap.model_validate(_plain(document), by_alias=True, by_name=False)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        where = here.rpartition(":")[0]
        raise InvalidManifestsError([fault_line(where, document, fault) for fault in faults]) from None


def read_documents(documents: Sequence[Any], migration: Migration, manifests: Manifests) -> list[str]:
    """Convert the old documents of a file in place, and add all to the manifests; returns the faults."""
    for document in documents:
        migration.convert(document)
    faults = [
        fault for document in documents for fault in read_document(migration.where, document, manifests)
    ]
    return migration.faults or faults  # else a document that cannot be converted is reported twice


def texts(name: str) -> Iterator[tuple[str, str]]:
    """(where, text) of a file, of those in a folder, or of standard input (`-`)."""
    if name == "-":
        yield "<stdin>", _decode("<stdin>", sys.stdin.buffer.read())
        return
    path = Path(name)
    files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]
    for file in files:
        try:
            yield str(file), _decode(str(file), file.read_bytes())
        except OSError as error:
            raise InvalidManifestsError([f"{file}: {error.strerror}"]) from None


def _decode(where: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        fault = f"{where}: not a text file ({error.reason} at byte {error.start})"
        raise InvalidManifestsError([fault]) from None


def parse(where: str, text: str) -> tuple[list[Any], list[str]]:
    """The documents of a file up to the first fault in its syntax, and that fault as `FILE:LINE: WHAT`."""
    documents: list[Any] = []
    yaml = YAML()
    yaml.preserve_quotes = True
    try:
        documents += (document for document in yaml.load_all(text) if document is not None)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return documents, [f"{where}:{line}: {_problem(error)}"]
    except ReaderError as error:
        return documents, [f"{where}: character {error.position + 1}: {error.reason}"]
    return documents, []


def _problem(error: MarkedYAMLError) -> str:
    """The parser's message without the values that it quotes: one may be a password."""
    text = (error.problem or "not YAML").strip().splitlines()[0]
    if isinstance(error, DuplicateKeyError):
        return text.partition(" with value ")[0]
    if isinstance(error, ComposerError):
        return "a value that begins with * is an alias without an anchor; put it in quotes"
    return text


def read_document(where: str, document: Any, manifests: Manifests) -> list[str]:
    """Add a document's objects to the manifests; returns its faults."""
    if not isinstance(document, CommentedMap):
        return [f"{where}: expected an object with apiVersion and kind, found {type(document).__name__}"]
    if document.get("kind") == "List":
        items = document.get("items") or ()
        if not isinstance(items, Sequence):
            return [f"{where}:{line_of(document, ('items',))}: items: expected a list"]
        return [fault for item in items for fault in read_document(where, item, manifests)]
    here = f"{where}:{document.lc.line + 1}"
    version, kind = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    model = _model(version, kind)
    if model is None:
        return _unknown(here, version, kind, document, manifests)
    return _read_object(where, here, document, model, manifests)


_OURS: Final = ("VirtualMachineImport", "ImportMapping", "ImportHook", "MigrationPlan", "Secret")


def _unknown(here: str, version: str, kind: str, document: CommentedMap, manifests: Manifests) -> list[str]:
    """Ignore objects of other groups, as `kubectl apply` accepts any. Kinds of our group must be known."""
    ours = kind in RESOURCES or kind in _OURS
    if version.startswith((f"{GROUP}/", f"{V2V_GROUP}/")) or not kind or (ours and not version):
        return [f"{here}: unknown kind {kind!r} of apiVersion {version!r}"]
    manifests.ignored.append(f"{here}: {kind}")
    if (version, kind) == ("v1", "ConfigMap"):
        metadata = document.get("metadata")
        if isinstance(metadata, Mapping):
            key = (str(metadata.get("namespace") or "default"), str(metadata.get("name", "")))
            manifests.config_maps[key] = (here, document)
    return []


def _read_object(
    where: str, here: str, document: CommentedMap, model: type[BaseModel], manifests: Manifests
) -> list[str]:
    if version_of(document).startswith(f"{V2V_GROUP}/"):
        found = [
            f"{where}:{line_of(document, path)}: {'.'.join(map(str, path))}: {words}"
            for path, words in corrections(document, model)
        ]
        if found:  # the other faults are their consequences
            return found
    try:
        _keep(model.model_validate(_plain(document), by_alias=True, by_name=False), manifests, here)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return [fault_line(where, document, fault) for fault in faults]
    except KeyError as error:
        return [f"{here}: {error.args[0]}"]
    return []


def _model(version: str, kind: str) -> type[BaseModel] | None:
    if (version, kind) == ("v1", "Secret"):
        return Secret
    if version.startswith(f"{GROUP}/"):
        models: dict[str, type[BaseModel]] = {
            **RESOURCES,
            "VirtualMachineImport": VirtualMachineImport,
            "ImportMapping": ImportMapping,
            "ImportHook": ImportHook,
            "MigrationPlan": MigrationPlan,
        }
        return models.get(kind)
    if version.startswith(f"{V2V_GROUP}/"):
        return {"VirtualMachineImport": V2vImport, "ResourceMapping": ResourceMapping}.get(kind)
    return None


def version_of(document: CommentedMap) -> str:
    """The apiVersion of a document."""
    return str(document.get("apiVersion", ""))


def _plain(value: Any) -> Any:
    """The parsed YAML without its line numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _keep(resource: BaseModel, manifests: Manifests, where: str) -> None:
    if isinstance(resource, Secret):
        _put(manifests.secrets, (resource.metadata.namespace, resource.metadata.name), resource, where)
    elif isinstance(resource, VirtualMachineImport):
        _put(manifests.imports, (resource.metadata.namespace, resource.metadata.name), resource, where)
    elif isinstance(resource, ImportMapping):
        _put(
            manifests.import_mappings, (resource.metadata.namespace, resource.metadata.name), resource, where
        )
    elif isinstance(resource, ImportHook):
        _put(manifests.hooks, (resource.metadata.namespace, resource.metadata.name), resource, where)
    elif isinstance(resource, MigrationPlan):
        _put(manifests.plans, (resource.metadata.namespace, resource.metadata.name), resource, where)
    elif isinstance(resource, V2vImport):
        _put(manifests.v2v_imports, (resource.metadata.namespace, resource.metadata.name), resource, where)
    elif isinstance(resource, ResourceMapping):
        _put(manifests.mappings, (resource.metadata.namespace, resource.metadata.name), resource, where)
    elif isinstance(resource, Source):
        key = (resource.kind.lower(), resource.metadata.namespace, resource.metadata.name)
        _put(manifests.sources, key, resource, where)


K = TypeVar("K", bound=tuple[str, ...])
T = TypeVar("T")


def _put(resources: dict[K, T], key: K, resource: T, where: str) -> None:
    if key in resources and resources[key] != resource:
        raise KeyError(f"{'/'.join(key)} is given twice with different content")
    resources[key] = resource


def fault_line(where: str, document: CommentedMap, fault: Any) -> str:
    """A fault as FILE:LINE: FIELD: WHAT."""
    path = ".".join(str(part) for part in fault["loc"])
    message = "unknown field" if fault["type"] == "extra_forbidden" else fault["msg"]
    return f"{where}:{line_of(document, fault['loc'])}: {path}: {message}"
