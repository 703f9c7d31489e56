"""No text of a custom resource becomes part of an API path (finding F1), or grows a status without limit."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources.reconcile import SourceReconciler
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, SECRET, SOURCES, STORAGE_CLASS, Kind
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster
from steps.runtime.kubeapi import connect
from steps.runtime.stop import Stop
from tests.serving import serving
from tests.unit.controller.operator.test_mapping import put_mapping
from tests.unit.controller.operator.v2v.place import LOGIN, V2vWorld
from tests.unit.controller.operator.world import KEY, World
from workflows.api.base import Model
from workflows.api.mapping import ImportMappingSpec
from workflows.api.sources import RESOURCES
from workflows.api.spec import VirtualMachineImportSpec
from workflows.api.v2v import ResourceMappingSpec, V2vImportSpec

TRAVERSALS: Final = (
    "../../kube-system/secrets/db-admin",
    "x?watch=true&timeoutSeconds=86400",
    "x#fragment",
    "%2e%2e%2fsecrets%2fx",
    "..",
    ".",
    "a/b",
    "a b",
    "x\n",
    "x\0y",
    "Upper",
    "ä",
    "a" * (1 << 20),
)
STATUS_BYTES: Final = 16 << 10


class Api(http.server.BaseHTTPRequestHandler):
    """An API server that has nothing, and records the paths of the requests."""

    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_PATCH = do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def paths() -> list[str]:
    return []


@pytest.fixture
def cluster(tmp_path: Path, paths: list[str]) -> Iterator[Cluster]:
    handler = type("Handler", (Api,), {"paths": paths})
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        file = tmp_path / "kubeconfig"
        config: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        config |= {
            "users": [{"name": "u", "user": {}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
        }
        config |= {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
        file.write_text(json.dumps(config))
        yield connect(Stop(), kubeconfig=str(file), patience=0)


ANY_TRAVERSAL: Final = pytest.mark.parametrize("name", TRAVERSALS, ids=lambda name: repr(name[:20]))


@ANY_TRAVERSAL
@pytest.mark.parametrize(
    "kind", [SECRET, SOURCES[SourceKind.VMWARE], STORAGE_CLASS], ids=lambda kind: kind.kind
)
def test_no_object_has_such_a_name(cluster: Cluster, paths: list[str], kind: Kind, name: str) -> None:
    assert cluster.get(kind, name, "tenant" if kind.namespaced else "") is None
    assert paths == []


@ANY_TRAVERSAL
def test_nothing_is_written_under_such_a_name(cluster: Cluster, paths: list[str], name: str) -> None:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "tenant"}}
    for write in (
        lambda: cluster.create(made),
        lambda: cluster.apply(made),
        lambda: cluster.patch(CONFIG_MAP, name, {}, "tenant"),
        lambda: cluster.patch_status(IMPORT, name, {}, "tenant"),
        lambda: cluster.delete(CONFIG_MAP, name, "tenant"),
        lambda: cluster.find(CONFIG_MAP, name),
    ):
        with pytest.raises(StepError) as caught:
            write()
        assert caught.value.code is Exit.INVALID
    assert paths == []


def test_a_label_cannot_change_the_query(cluster: Cluster, paths: list[str]) -> None:
    with pytest.raises(StepError, match="not a valid label"):
        cluster.find(CONFIG_MAP, "tenant", {"run": "x,other=y"})
    assert paths == []


# --- every field of every custom resource


def texts(model: type[Model]) -> Iterator[tuple[str, ...]]:
    """The paths of the fields of a spec that take any text; `*` is the item of a list."""
    schema = model.model_json_schema(by_alias=True)
    yield from _texts(schema, schema.get("$defs", {}))


def _texts(node: Any, defs: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "$ref" in node:
        node = defs[node["$ref"].rsplit("/", 1)[-1]]
    for choice in node.get("anyOf", []):
        yield from _texts(choice, defs, path)
    if node.get("type") == "array":
        yield from _texts(node["items"], defs, (*path, "*"))
    if node.get("type") == "string":
        yield path
    for name, part in node.get("properties", {}).items():
        yield from _texts(part, defs, (*path, name))


def placed(spec: dict[str, Any], path: tuple[str, ...], text: str) -> dict[str, Any]:
    """The spec with `text` at `path`."""
    name, *rest = path
    if rest and rest[0] == "*":
        inner = placed({}, tuple(rest[1:]), text) if rest[1:] else text
        return {**spec, name: [inner]}
    return {**spec, name: placed(spec.get(name) or {}, tuple(rest), text) if rest else text}


def sizes(status: Any) -> int:
    return len(json.dumps(status))


@pytest.mark.parametrize("path", list(texts(VirtualMachineImportSpec)), ids=".".join)
@ANY_TRAVERSAL
def test_a_field_of_an_import(path: tuple[str, ...], name: str) -> None:
    world = World()
    found = world.cluster.peek(IMPORT, *reversed(KEY))
    assert found is not None
    found["spec"] = placed(found["spec"], path, name)
    world.look(3)
    assert sizes(found.get("status")) < STATUS_BYTES
    assert all(valid(call.name) and valid(call.namespace) for call in world.cluster.calls)


V2V: Final = [path for path in texts(V2vImportSpec) if path[:3] != ("source", "ovirt", "mappings")]
"""The rows of both providers have one model."""


@pytest.mark.parametrize("path", V2V, ids=".".join)
@ANY_TRAVERSAL
def test_a_field_of_an_import_of_the_other_dialect(path: tuple[str, ...], name: str) -> None:
    world = V2vWorld()
    found = world.raw
    assert found is not None
    if path[:2] == ("source", "ovirt"):
        found["spec"]["source"] = {"ovirt": {"vm": {"name": "web01"}}}
        world.put_secret("vcenter-login", ovirt=LOGIN)
    found["spec"] = placed(found["spec"], path, name)
    world.begin()
    world.look(2)
    written = {"status": found.get("status"), "notes": world.notes()}
    assert sizes(written) < STATUS_BYTES
    assert all(valid(call.name) and valid(call.namespace) for call in world.cluster.calls)


@pytest.mark.parametrize(
    "path", [path for path in texts(ResourceMappingSpec) if path[0] == "vmware"], ids=".".join
)
@ANY_TRAVERSAL
def test_a_field_of_a_resource_mapping(path: tuple[str, ...], name: str) -> None:
    world = V2vWorld(resourceMapping={"name": "map"})
    world.put_mapping("map", placed({}, path, name))
    world.begin()
    world.look(2)
    assert world.raw is not None
    written = {"status": world.raw.get("status"), "notes": world.notes()}
    assert sizes(written) < STATUS_BYTES
    assert all(valid(call.name) and valid(call.namespace) for call in world.cluster.calls)


@pytest.mark.parametrize("path", list(texts(ImportMappingSpec)), ids=".".join)
@ANY_TRAVERSAL
def test_a_field_of_an_import_mapping(path: tuple[str, ...], name: str) -> None:
    world = World(importMapping={"name": "dc1"})
    put_mapping(world, **placed({}, path, name))
    world.look(3)
    assert world.raw is not None
    assert sizes(world.raw.get("status")) < STATUS_BYTES
    assert all(valid(call.name) and valid(call.namespace) for call in world.cluster.calls)


@pytest.mark.parametrize("key", ["apiUrl", "username", "password", "thumbprint", "caCert"])
@ANY_TRAVERSAL
def test_a_text_of_a_secret(key: str, name: str) -> None:
    world = V2vWorld()
    lines = [line for line in LOGIN.splitlines() if not line.startswith(key)]
    world.put_secret("vcenter-login", vmware="\n".join([*lines, f"{key}: {json.dumps(name)}"]))
    world.begin()
    assert world.raw is not None
    assert sizes({"status": world.raw.get("status"), "notes": world.notes()}) < STATUS_BYTES
    assert all(valid(call.name) and valid(call.namespace) for call in world.cluster.calls)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param(kind, path, id=f"{kind}-{'.'.join(path)}")
        for kind in SourceKind
        for path in texts(RESOURCES[kind].model_fields["spec"].annotation)  # type: ignore[arg-type]
    ],
)
@ANY_TRAVERSAL
def test_a_field_of_a_source(kind: SourceKind, path: tuple[str, ...], name: str) -> None:
    world = World()
    address = RESOURCES[kind].model_fields["spec"].annotation.ADDRESS  # type: ignore[union-attr]
    spec = placed({address: "https://source.example"}, path, name)
    metadata = {"name": "hostile", "namespace": "default", "generation": 1}
    place = {"apiVersion": SOURCES[kind].api_version, "kind": str(kind), "metadata": metadata}
    world.cluster.put({**place, "spec": spec})
    reconciler = SourceReconciler(world.cluster, Options(), world.checks, lambda: world.now)
    for _ in range(2):
        reconciler.reconcile(SourceKey(SOURCES[kind], "default", "hostile"))
        world.kubelet.sync()
    found = world.cluster.peek(SOURCES[kind], "hostile", "default")
    assert found is not None
    assert sizes(found.get("status")) < STATUS_BYTES
    assert all(valid(call.name) and valid(call.namespace) for call in world.cluster.calls)


def valid(name: str) -> bool:
    return len(name) <= 260 and not set(name) & set("?#% \n\0A") and ".." not in name
