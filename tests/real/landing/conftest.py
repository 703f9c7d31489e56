"""A real API server with Kubernetes' controllers of volumes and the rights of the chart, without nodes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from ruamel.yaml import YAML

from steps.model.contract import StepError
from tests.real.chart.test_argo_lint import ARGO
from tests.real.chart.test_chart import HELM, helm
from tests.real.controller.apiserver import CONTROLLERS, PROGRAM, ApiServer, managers, own_network, running
from tests.unit.workflows.author.rendered import CHART
from workflows import argo_names
from workflows.stages import Limit

RELEASE = "vmferry"
TENANT = "shop"
_POLICY = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
_KINDS = (
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
SECONDS = 600.0
"""For anything on a busy machine."""


def wait_for(reached: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def chart_objects(value: str = "kubevirt.disks=land") -> list[dict[str, object]]:
    """Accounts, rights and policies as Helm renders them with a value."""
    done = helm(
        *("template", "imports", str(CHART), "--namespace", RELEASE),
        *("--set", value, "--api-versions", _POLICY),
    )
    assert done.returncode == 0, done.stderr
    text = re.sub(r"^# Source: .*$", "", done.stdout, flags=re.MULTILINE)
    found = [one for one in YAML(typ="safe").load_all(text) if one and one["kind"] in _KINDS]
    for one in found:
        one["metadata"].setdefault("namespace", RELEASE)
    return found


def _has_policy(server: ApiServer) -> bool:
    """Whether the API server applies the policy, which it does some time after it was created.

    It refuses a token of the account without a pod.
    """
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "probe", "namespace": TENANT},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    try:
        server.connect(server.kubeconfig_of(RELEASE, "vmferry-target")).create(claim, dry_run=True)
    except StepError as error:
        return "vmferry-steps" in str(error)
    return False


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    if not PROGRAM.exists():
        pytest.skip(f"HAND-OVER NOT TESTED: no {PROGRAM}; tests/real/lab/build makes it")
    if HELM is None or os.geteuid():
        pytest.skip("HAND-OVER NOT TESTED: needs Helm and root")
    volumes = ("persistentvolume-binder-controller", "persistentvolumeclaim-protection-controller")
    controllers = (*CONTROLLERS, *volumes, "serviceaccount-controller")
    with own_network(), running(tmp_path_factory.mktemp("api")) as made, managers(made, controllers):
        for name in (RELEASE, TENANT):
            made.make_namespace(name)
        # The API server validates. kubectl would first read all schemas, which takes long on a busy computer.
        listed = {"apiVersion": "v1", "kind": "List", "items": chart_objects()}
        made.kubectl("apply", "--validate=false", "-f", "-", given=json.dumps(listed))
        wait_for(lambda: _has_policy(made), "the policy is not in effect")
        yield made


@pytest.fixture(scope="package")
def argo(server: ApiServer) -> Iterator[ApiServer]:
    """Argo's controller, while the tests run."""
    controller = ARGO.parent / "workflow-controller"
    if not controller.exists():
        pytest.skip(f"NOT RUN BY ARGO: no {controller}; give LAB_ARGO the folder of its binaries")
    for crd in sorted((ARGO.parent / "crds").glob("*.yaml")):
        server.kubectl("apply", "--server-side", "-f", str(crd))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap", "namespace": RELEASE},
    }
    limits = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": argo_names.LIMITS, "namespace": RELEASE},
        "data": {argo_names.limit_key("default", limit): "100" for limit in Limit},
    }
    listed = {"apiVersion": "v1", "kind": "List", "items": [config, limits]}
    server.kubectl("apply", "--validate=false", "-f", "-", given=json.dumps(listed))
    with (server.folder / "argo.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(controller, "--kubeconfig", server.kubeconfig, "--namespace", RELEASE),
                *("--namespaced", "--managed-namespace", RELEASE, "--executor-image", "argoexec"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LEADER_ELECTION_DISABLE": "true"},
        )
    try:
        yield server
    finally:
        process.terminate()
        process.wait(30)
