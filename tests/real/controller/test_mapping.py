"""An import with an ImportMapping against a real API server: its rules, the wait, and the grant."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from controller.operator.cache import StatusCache
from controller.operator.options import Options
from controller.operator.reconcile import reconcile
from controller.operator.routing import ImportKey
from steps.model.kinds import API_VERSION
from tests.real.controller import apiserver
from tests.real.controller.apiserver import ApiServer
from tests.unit.workflows.test_import_mapping import network
from workflows.api import crd

pytestmark = pytest.mark.skipif(
    not apiserver.PROGRAM.exists() or os.geteuid() != 0,
    reason=f"NOT RUN: {apiserver.PROGRAM} is missing (tests/real/lab/build builds it), or no root",
)

Json = dict[str, Any]
KEY: Final = ImportKey("shop", "web")


def an_object(kind: str, namespace: str, name: str, spec: Json, **more: Any) -> str:
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, **more})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with apiserver.own_network(), apiserver.running(tmp_path_factory.mktemp("api")) as running:
        running.kubectl("apply", "--validate=false", "-f", "-", given=crd.render())
        for kind in crd.manifests():
            name = kind["metadata"]["name"]
            running.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=120s")
        for namespace in ("vmferry", "shop", "infra"):
            running.make_namespace(namespace)
        source = {"endpoint": "https://vcenter.example/sdk", "dc": "DC0", "credentials": {"name": "login"}}
        running.kubectl("apply", "-f", "-", given=an_object("VmwareSource", "shop", "vc", source))
        secret = ("create", "secret", "generic", "login", "-n", "shop")
        running.kubectl(*secret, "--from-literal=username=u", "--from-literal=password=p")
        ready = {"status": {"status": "clusterReady", "observedGeneration": 1}}
        running.kubectl(
            *("patch", "vmwaresource.migration", "vc", "-n", "shop", "--subresource=status"),
            *("--type=merge", "--patch", json.dumps(ready)),
        )
        spec = {
            "virtualMachineName": "web01",
            "sourceCluster": {"kind": "VmwareSource", "name": "vc"},
            "importMapping": {"name": "dc1", "namespace": "infra"},
        }
        running.kubectl("apply", "-f", "-", given=an_object("VirtualMachineImport", "shop", "web", spec))
        yield running


def looked(server: ApiServer) -> tuple[str, str]:
    """Reason and message of the import after a reconcile."""
    reconcile(server.connect(), Options(), KEY, StatusCache(lambda: None), lambda: datetime.now(UTC))
    found = json.loads(
        server.kubectl("get", "virtualmachineimport.migration", "-n", "shop", "web", "-o", "json")
    )
    (summary,) = [one for one in found["status"]["importConditions"] if one["type"] == "Succeeded"]
    return summary["reason"], summary["message"]


def apply(server: ApiServer, *rows: Json) -> None:
    mapping = an_object("ImportMapping", "infra", "dc1", {"networks": list(rows)})
    server.kubectl("apply", "-f", "-", given=mapping)


def test_from_a_missing_mapping_to_the_next_obstacle(server: ApiServer) -> None:
    """What the owner must do is in the message, word for word."""
    reason, message = looked(server)
    assert reason == "MappingNotPermitted"
    with pytest.raises(Exception, match="two rows have the same source"):
        apply(server, network(), network("vlan2"))
    with pytest.raises(Exception, match="must be NAME or NAMESPACE/NAME"):
        apply(server, network("a/b/c"))
    apply(server, network(source={"vlan": 12}))
    assert looked(server) == (reason, message), "it does not reveal that the mapping exists"
    server.kubectl(*message.partition("kubectl ")[2].split())
    reason, message = looked(server)
    assert reason == "Invalid"
    assert "WorkflowTemplate vmferry/vmferry-vmware does not exist" in message
    assert "Mapping" not in message


def test_kubectl_explains_every_field_in_sentences(server: ApiServer) -> None:
    text = server.kubectl("explain", "importmapping.spec.networks.source.vlan")
    assert "The ID of the VLAN that the network is bound to, from 1 to 4094;" in " ".join(text.split())
