"""Imports of `v2v.kubevirt.io` against a real API server, and their Secrets against a simulated vCenter."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from controller.operator.cache import StatusCache
from controller.operator.options import Options
from controller.operator.reconcile import reconcile
from controller.operator.routing import ImportKey
from steps.model.kinds import V2V_IMPORT
from tests.real import scenario
from tests.real.controller import apiserver
from tests.real.controller.apiserver import ApiServer
from tests.real.simulator import Simulator
from tests.unit.controller.manifests.test_v2v import CORRECTED
from tests.unit.controller.operator import programs
from tests.unit.controller.operator.kubelet import FakeNode, Kubelet
from tests.unit.controller.operator.v2v.place import V2vWorld
from workflows.api import crd, crd_v2v

NAME: Final = "example-virtualmachineimport"
SECONDS: Final = 240.0
"""For a check on a busy machine."""

needs_api_server = pytest.mark.skipif(
    not apiserver.PROGRAM.exists() or os.geteuid() != 0,
    reason=f"NOT RUN: {apiserver.PROGRAM} is missing (tests/real/lab/build builds it), or no root",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with apiserver.own_network(), apiserver.running(tmp_path_factory.mktemp("api")) as running:
        running.kubectl("apply", "--validate=false", "-f", "-", given=crd.render() + crd_v2v.render())
        for kind in (*crd.manifests(), *crd_v2v.manifests()):
            name = kind["metadata"]["name"]
            running.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=120s")
        for namespace in ("vmferry", "example-ns", "othernamespace"):
            running.make_namespace(namespace)
        running.kubectl("apply", "-f", "-", given=CORRECTED)
        yield running


def looked(server: ApiServer) -> Any:
    """The import after a reconcile."""
    key = ImportKey("example-ns", NAME, V2V_IMPORT)
    reconcile(server.connect(), Options(), key, StatusCache(lambda: None), lambda: datetime.now(UTC))
    found = server.kubectl("get", "vmimports", "-n", "example-ns", NAME, "-o", "json")
    return json.loads(found)


@needs_api_server
def test_the_example_works_after_the_grants_that_the_refusal_prints(server: ApiServer) -> None:
    """From `kubectl apply` to the check of the Secret, with the API server's own validation."""
    (valid,) = looked(server)["status"]["conditions"]
    assert (valid["type"], valid["status"], valid["reason"]) == ("Valid", "False", "SecretNotFound")
    grants = [part.partition("kubectl ")[2].split() for part in valid["message"].split("; ")]
    assert [grant[1] for grant in grants] == ["secrets", "resourcemappings"]
    for grant in grants:
        server.kubectl(*grant)
    found = looked(server)
    assert "conditions" not in found["status"] or found["status"]["conditions"] == []
    assert found["metadata"]["annotations"]["migration.harvesterhci.io/message"].endswith("is checked first")
    states = json.loads(server.kubectl("get", "configmap", "-n", "vmferry", "-o", "json"))["items"]
    assert len([one for one in states if one["metadata"]["name"].startswith("vmferry-import-")]) == 1


@needs_api_server
def test_both_kinds_have_the_same_name_and_are_told_apart(server: ApiServer) -> None:
    ours = "virtualmachineimports.migration.harvesterhci.io"
    assert server.kubectl("get", ours, "-A", "-o", "name") == ""
    listed = server.kubectl("get", "virtualmachineimports.v2v.kubevirt.io", "-A", "-o", "name")
    assert listed.strip() == f"virtualmachineimport.v2v.kubevirt.io/{NAME}"
    assert NAME in server.kubectl("get", "all", "-n", "example-ns")


@pytest.mark.vcenter
def test_a_secret_is_checked_at_the_vcenter(tmp_path: Path) -> None:
    """The check pod is the real program. A wrong password is the condition Valid, and heals."""
    inventory = {"datacenters": [{"name": "DC0", "vms": []}, {"name": "DC1", "vms": []}]}
    with Simulator.start(inventory, tmp_path) as simulator:
        world = V2vWorld()
        world.tick = 0
        world.kubelet = Kubelet(FakeNode(world.cluster), programs.run, time.monotonic)
        world.put_secret("vcenter-login", vmware=scenario.v2v_login(simulator, "wrong"))
        settle(world)
        assert world.condition("Valid").reason == "UnreachableProvider"
        world.put_secret("vcenter-login", vmware=scenario.v2v_login(simulator))
        settle(world)
        assert world.workflows() == [world.run]
        assert simulator.sessions() == []


def settle(world: V2vWorld) -> None:
    """Reconcile until the Secret as it is now was checked, and its import has been reconciled after that."""
    world.sources_due.update(world.checks_of())
    end = time.monotonic() + SECONDS
    while True:
        world.look()
        world.check_secrets()
        world.look()
        if world.status.import_conditions and world.summary.reason != "SourceNotChecked":
            return
        assert time.monotonic() < end
        time.sleep(0.05)
