"""What people with the roles `edit` and `view` may do, and what an upgrade tells owners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.operator.observe.secret import CONSENT, LABEL_CREDENTIALS
from steps.model.grants import ALLOWED
from steps.model.kinds import API_VERSION, Object
from tests.real.cluster.chart import Chart
from tests.real.cluster.lab import CommandError, Lab

RESOURCES = (
    "virtualmachineimports",
    "importmappings",
    "migrationplans",
    "vmwaresources",
    "openstacksources",
    "ovasources",
    "ovirtsources",
)


@pytest.fixture(scope="module")
def tenant(chart: Chart) -> Iterator[str]:
    """A namespace with two service accounts: `editor` has the role edit there, `viewer` the role view."""
    lab = chart.lab
    namespace = lab.make_namespace("tenant")
    for name, role in (("editor", "edit"), ("viewer", "view")):
        lab.kubectl("--namespace", namespace, "create", "serviceaccount", name)
        account = f"--serviceaccount={namespace}:{name}"
        lab.kubectl("--namespace", namespace, "create", "rolebinding", name, f"--clusterrole={role}", account)
    yield namespace
    lab.reset()


def may(lab: Lab, namespace: str, who: str, verb: str, resource: str, where: str = "") -> bool:
    user = f"--as=system:serviceaccount:{namespace}:{who}"
    asked = ("auth", "can-i", verb, f"{resource}.migration.harvesterhci.io", user)
    try:
        return lab.kubectl("--namespace", where or namespace, *asked).strip() == "yes"
    except CommandError:
        return False


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_tenant_writes_specs_but_no_status(chart: Chart, tenant: str, resource: str) -> None:
    lab = chart.lab
    for verb in ("get", "list", "create", "patch", "delete"):
        assert may(lab, tenant, "editor", verb, resource)
        assert not may(lab, tenant, "editor", verb, resource, lab.release), "only in the own namespace"
    user = f"--as=system:serviceaccount:{tenant}:editor"
    group = f"{resource}.migration.harvesterhci.io"
    for verb in ("patch", "update"):
        with pytest.raises(CommandError):
            lab.kubectl("--namespace", tenant, "auth", "can-i", verb, group, "--subresource=status", user)


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_viewer_reads_only(chart: Chart, tenant: str, resource: str) -> None:
    assert may(chart.lab, tenant, "viewer", "get", resource)
    assert not any(may(chart.lab, tenant, "viewer", verb, resource) for verb in ("create", "patch", "delete"))


def an_object(kind: str, name: str, namespace: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def test_an_upgrade_prints_the_grants_that_are_needed(chart: Chart, tenant: str) -> None:
    lab = chart.lab
    secret = {"name": "login", "namespace": lab.release}
    source = {"endpoint": "https://vcenter.example/sdk", "dc": "DC0", "credentials": secret}
    other = lab.make_namespace("infra")
    reference = {"kind": "VmwareSource", "name": "shared", "namespace": other}
    given = an_object(
        "VirtualMachineImport", "web", tenant, {"virtualMachineName": "w", "sourceCluster": reference}
    )
    lab.apply(an_object("VmwareSource", "shared", other, source), given)

    said = chart.install()
    grant = f"kubectl annotate vmwaresource -n {other} shared {ALLOWED}={tenant}"
    assert grant in said
    assert f"kubectl annotate secret -n {lab.release} login {CONSENT}={other}/VmwareSource/shared" in said
    assert f"kubectl label secret -n {lab.release} login {LABEL_CREDENTIALS}=true" in said

    lab.kubectl(*grant.split()[1:])
    assert grant not in chart.install()
