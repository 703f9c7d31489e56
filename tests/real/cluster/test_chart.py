"""The chart, installed by the real Helm in a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from controller.operator.limits import COPIED
from steps.model.kinds import CONFIG_MAP, CRD, DEPLOYMENT, SOURCES
from steps.model.plan import TargetKind
from steps.model.sources import SourceKind
from tests.real.cluster.chart import CHART, Chart
from tests.real.cluster.lab import CommandError
from tests.real.cluster.stagepods import StagePods
from tests.real.standins.process import eventually
from tests.unit.builders import a_plan
from workflows.argo_names import LIMITS
from workflows.stages import Scope, Stage, stages_for

CRDS = (
    "virtualmachineimports",
    "importmappings",
    "importhooks",
    "migrationplans",
    "vmwaresources",
    "openstacksources",
    "ovasources",
    "ovirtsources",
)
KINDS = (
    "serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,configmaps,deployments,"
    "networkpolicies,workflowtemplates,jobs,validatingadmissionpolicies,validatingadmissionpolicybindings"
)


@pytest.fixture
def changed(chart: Chart) -> Iterator[Chart]:
    """The chart, for a test that changes it."""
    yield chart
    chart.install()


def condition(chart: Chart, crd: str, kind: str) -> str:
    found = chart.lab.get(CRD, f"{crd}.migration.harvesterhci.io") or {}
    conditions = found.get("status", {}).get("conditions", [])
    return "".join(one["status"] for one in conditions if one["type"] == kind)


@pytest.mark.smoke
@pytest.mark.parametrize("crd", CRDS)
def test_api_server_accepts_the_crd(chart: Chart, crd: str) -> None:
    assert condition(chart, crd, "Established") == "True"
    assert condition(chart, crd, "NamesAccepted") == "True"
    assert condition(chart, crd, "NonStructuralSchema") == ""


def test_second_install_with_the_same_values_changes_nothing(chart: Chart) -> None:
    def seen() -> tuple[object, ...]:
        deployment = chart.lab.get(DEPLOYMENT, "vmferry-controller") or {}
        crds = [chart.lab.get(CRD, f"{crd}.migration.harvesterhci.io") or {} for crd in CRDS]
        return deployment["metadata"]["generation"], *(crd["metadata"]["generation"] for crd in crds)

    before = seen()
    chart.install()
    assert seen() == before


def test_upgrade_keeps_the_keys_of_the_controller(changed: Chart) -> None:
    added = "vmwaresource.default.vcenter.machines"
    changed.lab.cluster.patch(CONFIG_MAP, LIMITS, {"data": {added: "1"}}, changed.lab.release)
    changed.install(**{"limits.machines": 3})
    data = (changed.lab.get(CONFIG_MAP, LIMITS) or {})["data"]
    assert data["default.machines"] == "3"
    assert data[added] == "1"


def test_upgrade_removes_a_copied_limit_that_no_workflow_needs(changed: Chart) -> None:
    added = "vmwaresource.default.vcenter.streams"
    marked = {"metadata": {"annotations": {COPIED: json.dumps({added: "4"})}}, "data": {added: "4"}}
    changed.lab.cluster.patch(CONFIG_MAP, LIMITS, marked, changed.lab.release)
    changed.install(**{"limits.streams": 7})
    eventually(
        lambda: added not in (changed.lab.get(CONFIG_MAP, LIMITS) or {})["data"], "the limit of a source"
    )


def test_unknown_values_are_refused(chart: Chart) -> None:
    with pytest.raises(CommandError, match="scratsh"):
        chart.install(scratsh={})


def test_a_second_release_is_refused_with_the_name_of_the_first(chart: Chart) -> None:
    lab = chart.lab
    with pytest.raises(CommandError) as caught:
        lab.helm("install", "second", str(CHART), "--namespace", "elsewhere", "--create-namespace")
    assert f"release vmferry in namespace {lab.release}" in str(caught.value)
    assert "One release serves the whole cluster" in str(caught.value)


def test_uninstall_keeps_the_crds_and_their_objects(changed: Chart) -> None:
    lab = changed.lab
    credentials = {"name": "none", "namespace": lab.release}
    source = {
        "apiVersion": SOURCES[SourceKind.VMWARE].api_version,
        "kind": SOURCES[SourceKind.VMWARE].kind,
        "metadata": {"name": "kept", "namespace": lab.release},
        "spec": {"endpoint": "https://vcenter.example/sdk", "dc": "DC0", "credentials": credentials},
    }
    lab.apply(source)

    changed.uninstall()
    label = ("--selector", "app.kubernetes.io/instance=vmferry", "--output", "name")
    assert lab.kubectl("--namespace", lab.release, "get", KINDS, *label).strip() == ""
    assert lab.get(SOURCES[SourceKind.VMWARE], "kept") is not None

    changed.install()
    assert lab.get(SOURCES[SourceKind.VMWARE], "kept") is not None
    lab.cluster.delete(SOURCES[SourceKind.VMWARE], "kept", lab.release)


STAGES = [stage for stage in stages_for(TargetKind.HARVESTER) if not stage.gate]


@pytest.mark.smoke
@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_pod_security_accepts_every_stage(chart: Chart, stage: Stage) -> None:
    pods = StagePods(chart.lab, chart.template(), a_plan())
    pod = pods.manifest(stage.name, "disk-0" if stage.scope is Scope.DISK else "")
    chart.lab.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(pod))

    for container in pod["spec"]["containers"]:
        del container["securityContext"]
    with pytest.raises(CommandError, match='violates PodSecurity "restricted:latest"'):
        chart.lab.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(pod))
