from __future__ import annotations

import uuid
from typing import Any, Final

import pytest

from controller.manifests.environment import Environment
from controller.manifests.environment import read as environment
from controller.manifests.read import InvalidManifestsError, Manifests
from controller.manifests.resolve import Job, access, jobs, only_source
from steps.model.plan import TargetKind
from steps.model.sources import SourceKind
from tests.unit.builders import a_cloud, a_secret, a_source, an_import
from workflows.api.resources import Secret, VirtualMachineImport
from workflows.api.sources import Source
from workflows.settings import Settings

NOTHING: Final = Environment()
GOVC: Final = environment({"GOVC_URL": "a:b@other.example", "VM_NAME": "web01"})
BOTH: Final = environment(
    {
        "GOVC_URL": "a:b@other.example",
        "VM_NAME": "web01",
        "OS_AUTH_URL": "https://keystone.example:5000/v3",
        "OS_REGION_NAME": "RegionOne",
        "OS_USERNAME": "admin",
        "OS_PASSWORD": "s3",
        "OS_VM_NAME": "db01",
    }
)


def given(*things: Secret | Source | VirtualMachineImport) -> Manifests:
    manifests = Manifests()
    for thing in things:
        key = (thing.metadata.namespace, thing.metadata.name)
        if isinstance(thing, Secret):
            manifests.secrets[key] = thing
        elif isinstance(thing, VirtualMachineImport):
            manifests.imports[key] = thing
        else:
            manifests.sources[thing.kind.lower(), *key] = thing
    return manifests


def made(*things: Secret | Source | VirtualMachineImport, environment: Environment = NOTHING) -> list[Job]:
    return jobs(given(*things), environment, Settings())


def refusal(
    *things: Secret | Source | VirtualMachineImport, environment: Environment = NOTHING
) -> tuple[str, ...]:
    with pytest.raises(InvalidManifestsError) as caught:
        made(*things, environment=environment)
    return caught.value.faults


def test_import_source_and_secret_are_joined() -> None:
    (job,) = made(an_import(), a_source(), a_secret())
    assert job.name == "web"
    assert job.plan.source.endpoint == "https://vcenter.example/sdk"
    assert job.credentials == {"username": b"u", "password": b"p"}


@pytest.mark.parametrize("kind", ["VmwareSource", "vmwaresource", "VMWARESOURCE"])
def test_the_case_of_the_source_kind_does_not_matter(kind: str) -> None:
    made(an_import(sourceCluster={"kind": kind, "name": "vc"}), a_source(), a_secret())


def test_the_default_namespace_of_a_source_is_that_of_the_import() -> None:
    reference = {"kind": "VmwareSource", "name": "vc"}
    (fault,) = refusal(an_import(namespace="shop", sourceCluster=reference), a_source(), a_secret())
    assert fault == (
        "VirtualMachineImport web: its source VmwareSource shop/vc is not given "
        "(found: vmwaresource/default/vc)"
    )


def test_a_missing_secret_is_named() -> None:
    (fault,) = refusal(an_import(), a_source(), a_secret("other"))
    assert fault == "VirtualMachineImport web: Secret default/vc-login is not given (found: default/other)"


def test_no_import_is_reported() -> None:
    (fault,) = refusal(a_source(), a_secret())
    assert fault.startswith("no VirtualMachineImport given; write one")


def test_every_reason_of_every_import_is_reported() -> None:
    found = refusal(
        an_import("a", virtualMachineName=""), an_import("b", networkMapping=[{}]), a_source(), a_secret()
    )
    assert [fault.partition(":")[0] for fault in found] == [
        "VirtualMachineImport a",
        "VirtualMachineImport b",
        "VirtualMachineImport b",
    ]


def test_each_run_has_its_own_uid() -> None:
    first, second = (made(an_import(), a_source(), a_secret())[0].plan for _ in range(2))
    assert first.run != second.run
    assert uuid.UUID(first.import_.uid) != uuid.UUID(second.import_.uid)


@pytest.mark.parametrize(
    "second",
    [{"virtualMachineName": "web01"}, {"virtualMachineName": "db", "targetVirtualMachineName": "web01"}],
)
def test_two_imports_to_one_vm_are_refused(second: dict[str, Any]) -> None:
    (fault,) = refusal(an_import("a"), an_import("b", **second), a_source(), a_secret())
    assert fault.startswith("a and b would both become default/web01")


@pytest.mark.parametrize("name", ["WEB01", "web01."])
def test_two_names_that_become_equal_are_refused(name: str) -> None:
    refusal(an_import("a"), an_import("b", virtualMachineName=name), a_source(), a_secret())


def test_one_name_in_two_namespaces_is_accepted() -> None:
    assert len(made(an_import("a"), an_import("b", namespace="shop"), a_source(), a_secret())) == 2


# --- the environment, if no manifest has the value


def test_the_environment_alone_is_enough() -> None:
    (job,) = made(environment=GOVC)
    assert (job.plan.vm, job.plan.source.endpoint) == ("web01", "https://other.example/sdk")
    assert job.credentials == {"username": b"a", "password": b"b"}


def test_manifests_win_over_the_environment() -> None:
    (job,) = made(an_import(), a_source(), a_secret(), environment=GOVC)
    assert (job.name, job.plan.source.endpoint) == ("web", "https://vcenter.example/sdk")
    assert job.credentials == {"username": b"u", "password": b"p"}


def test_an_empty_address_is_read_from_the_environment() -> None:
    (job,) = made(an_import(), a_source(endpoint="", dc="DC9"), a_secret(), environment=GOVC)
    assert (job.plan.source.endpoint, job.plan.source.datacenter) == ("https://other.example/sdk", "DC9")


def test_a_source_that_an_import_names_is_never_replaced_by_the_environment() -> None:
    (fault,) = refusal(
        an_import(sourceCluster={"kind": "VmwareSource", "name": "cv"}),
        a_source(),
        a_secret(),
        environment=GOVC,
    )
    assert "default/cv is not given" in fault


def test_a_secret_that_a_source_names_is_never_replaced_by_the_environment() -> None:
    (fault,) = refusal(an_import(), a_source(), environment=GOVC)
    assert "Secret default/vc-login is not given" in fault


def test_each_source_of_the_environment_gives_an_import() -> None:
    vmware, openstack = made(environment=BOTH)
    assert (vmware.plan.vm, vmware.plan.source.kind) == ("web01", SourceKind.VMWARE)
    assert (openstack.plan.vm, openstack.plan.source.kind) == ("db01", SourceKind.OPENSTACK)
    assert vmware.credentials == {"username": b"a", "password": b"b"}
    assert openstack.credentials["username"] == b"admin"


def test_an_import_without_a_source_name_uses_the_one_of_its_kind() -> None:
    (job,) = made(an_import(sourceCluster={"kind": "openstacksource"}), environment=BOTH)
    assert job.plan.source.endpoint == "https://keystone.example:5000/v3"
    (fault,) = refusal(an_import(sourceCluster={}), environment=BOTH)
    assert "its source (no kind) default/ is not given" in fault


def test_an_empty_address_of_a_cloud_is_read_from_the_environment() -> None:
    cluster = {"kind": "OpenstackSource", "name": "os"}
    open_, region = a_cloud(endpoint=""), a_cloud(endpoint="", region="West")
    for source, wanted in ((open_, "RegionOne"), (region, "West")):
        (job,) = made(an_import(sourceCluster=cluster), source, a_secret("os-login"), environment=BOTH)
        assert job.plan.source.endpoint == "https://keystone.example:5000/v3"
        assert job.plan.source.region == wanted


def test_the_password_of_the_environment_goes_to_no_other_cloud() -> None:
    cluster = {"kind": "OpenstackSource", "name": "os"}
    stranger = a_cloud(endpoint="https://stranger.example:5000/v3", credentials=None)
    (fault,) = refusal(an_import(sourceCluster=cluster), stranger, environment=BOTH)
    assert "spec.credentials is empty" in fault
    ours = a_cloud(endpoint="https://keystone.example:5000/v3", credentials=None)
    (job,) = made(an_import(sourceCluster=cluster), ours, environment=BOTH)
    assert job.credentials["password"] == b"s3"


# --- one source for an inventory


def test_the_only_source_is_used() -> None:
    manifests = given(a_source(), a_secret())
    source, credentials = access(only_source(manifests, NOTHING, None), manifests, NOTHING)
    assert (source.name, credentials["username"]) == ("vc", b"u")


def test_of_several_sources_one_must_be_named() -> None:
    several = given(a_source(), a_source("vc2"), a_secret())
    with pytest.raises(InvalidManifestsError, match="need exactly one source, found: vc, vc2; select one"):
        only_source(several, NOTHING, None)
    assert only_source(several, NOTHING, "vc2").metadata.name == "vc2"
    assert only_source(several, NOTHING, "VmwareSource/vc").metadata.name == "vc"


def test_sources_with_the_same_name_are_distinguished_by_kind() -> None:
    several = given(a_source(), a_cloud("vc"), a_secret())
    with pytest.raises(InvalidManifestsError, match="found: VmwareSource/vc, OpenstackSource/vc; select one"):
        only_source(several, NOTHING, "vc")
    assert only_source(several, NOTHING, "openstacksource/vc").kind == "OpenstackSource"


def test_the_source_of_the_environment_is_used_if_there_is_no_other() -> None:
    assert only_source(Manifests(), GOVC, None).spec.address == "https://other.example/sdk"


def test_of_both_sources_of_the_environment_one_must_be_named() -> None:
    with pytest.raises(InvalidManifestsError, match="VmwareSource/environment, OpenstackSource/environment"):
        only_source(Manifests(), BOTH, None)
    found = only_source(Manifests(), BOTH, "OpenstackSource/environment")
    assert found.spec.address == "https://keystone.example:5000/v3"


def test_a_source_without_address_or_secret_is_refused() -> None:
    with pytest.raises(InvalidManifestsError, match=r"has no spec\.endpoint"):
        access(a_source(endpoint=""), given(a_secret()), NOTHING)
    with pytest.raises(InvalidManifestsError, match="is not given"):
        access(a_source(), Manifests(), NOTHING)


def test_an_import_for_another_target_is_refused_but_a_folder_takes_any() -> None:
    manifests = given(a_secret(), a_source(), an_import(target="kubevirt"))
    with pytest.raises(InvalidManifestsError, match="--to kubevirt"):
        jobs(manifests, NOTHING, Settings(target=TargetKind.HARVESTER))
    for target in (TargetKind.KUBEVIRT, TargetKind.DIRECTORY):
        (job,) = jobs(manifests, NOTHING, Settings(target=target))
        assert job.plan.target.kind is target


def selected(*vms: str) -> list[str]:
    imports = [
        an_import("a", virtualMachineName="web01", folder="prod"),
        an_import("b", virtualMachineName="web01", folder="test", targetVirtualMachineName="other"),
        an_import("c", virtualMachineName="/DC0/vm/prod/db"),
    ]
    found = jobs(given(*imports, a_source(), a_secret()), NOTHING, Settings(), vms=vms)
    return [job.name for job in found]


@pytest.mark.parametrize(
    ("vm", "names"),
    [
        ("*", ["a", "b", "c"]),
        ("web*", ["a", "b"]),
        ("prod/*", ["a"]),
        ("/DC0/vm/prod/*", ["a", "c"]),
        ("/DC0/vm/test/web01", ["b"]),
        ("b", ["b"]),
        ("db", ["c"]),
    ],
)
def test_imports_are_selected_by_name_path_and_vm(vm: str, names: list[str]) -> None:
    assert selected(vm) == names


def test_each_pattern_must_fit_an_import() -> None:
    with pytest.raises(InvalidManifestsError) as caught:
        selected("web*", "mail", "x?")
    assert caught.value.faults == (
        "no import is for a VM that fits 'mail' (imports: a, b, c)",
        "no import is for a VM that fits 'x?' (imports: a, b, c)",
    )


def test_imports_that_were_not_selected_do_not_clash() -> None:
    imports = [
        an_import("a", virtualMachineName="web01"),
        an_import("b", virtualMachineName="web01", folder="x"),
    ]
    manifests = given(*imports, a_source(), a_secret())
    with pytest.raises(InvalidManifestsError, match="would both become"):
        jobs(manifests, NOTHING, Settings())
    assert [job.name for job in jobs(manifests, NOTHING, Settings(), vms=["a"])] == ["a"]
