from __future__ import annotations

from pathlib import Path

import pytest

from controller.manifests.environment import NAME, Environment, read
from steps.model.contract import StepError
from steps.providers.openstack.credentials import Credentials
from workflows.api.sources import KubeVirtSource, OpenstackSource, OvirtSource, VmwareSource, VmwareSourceSpec


def spec(**environ: str) -> VmwareSourceSpec:
    (source,) = read(environ).sources
    assert isinstance(source, VmwareSource)
    assert source.metadata.name == NAME
    return source.spec


def credentials(environ: dict[str, str]) -> dict[str, bytes]:
    (given,) = read(environ).given
    return given.credentials


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://vcenter.example/sdk", "https://vcenter.example/sdk"),
        ("https://vcenter.example", "https://vcenter.example/sdk"),
        ("vcenter.example", "https://vcenter.example/sdk"),
        ("vcenter.example:8443", "https://vcenter.example:8443/sdk"),
        ("http://vcenter.example/sdk", "http://vcenter.example/sdk"),
        ("vcenter.example/other", "https://vcenter.example/other"),
        ("user:pass@vcenter.example", "https://vcenter.example/sdk"),
        ("https://user:p%40ss@vcenter.example:8443/sdk", "https://vcenter.example:8443/sdk"),
        ("https://user@[fe80::1]:443", "https://[fe80::1]:443/sdk"),
    ],
)
def test_the_url_may_be_as_short_as_for_govc(url: str, endpoint: str) -> None:
    assert spec(GOVC_URL=url).endpoint == endpoint


def test_user_and_password_of_the_url_are_credentials() -> None:
    found = credentials({"GOVC_URL": "a%40b:p%3Aw@vcenter.example"})
    assert found == {"username": b"a@b", "password": b"p:w"}


def test_separate_variables_win_over_the_url() -> None:
    environ = {"GOVC_URL": "a:b@vcenter.example", "GOVC_USERNAME": "c", "GOVC_PASSWORD": "d"}
    assert credentials(environ) == {"username": b"c", "password": b"d"}


def test_the_datacenter_is_read() -> None:
    assert spec(GOVC_URL="vc", GOVC_DATACENTER="DC1").dc == "DC1"


@pytest.mark.parametrize(
    ("text", "wanted"), [("1", True), ("true", True), ("TRUE", True), ("0", False), ("", False)]
)
def test_tls_is_verified_unless_disabled(text: str, wanted: bool) -> None:
    assert spec(GOVC_URL="vc", GOVC_INSECURE=text).insecure_skip_tls_verify is wanted


def test_the_ca_file_is_read_into_the_credentials(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"pem")
    assert credentials({"GOVC_URL": "vc", "GOVC_TLS_CA_CERTS": f"{tmp_path}/ca.pem"})["caCert"] == b"pem"


def test_a_vm_becomes_an_import_with_a_valid_name() -> None:
    (made,) = read({"VM_NAME": "Web Server 1"}).imports
    assert (made.metadata.name, made.spec.virtual_machine_name) == ("web-server-1", "Web Server 1")
    assert made.spec.source_cluster.name == NAME


def test_an_empty_environment_gives_nothing() -> None:
    assert read({}) == Environment()
    assert read({"GOVC_USERNAME": "u", "GOVC_PASSWORD": "p", "OS_USERNAME": "u"}) == Environment()


def test_a_missing_ca_file_is_reported() -> None:
    with pytest.raises(StepError, match="GOVC_TLS_CA_CERTS"):
        read({"GOVC_URL": "vc", "GOVC_TLS_CA_CERTS": "/none.pem"})


def test_several_ca_files_are_joined(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    found = credentials({"GOVC_URL": "vc", "GOVC_TLS_CA_CERTS": f"{tmp_path}/a:{tmp_path}/b"})
    assert found["caCert"].split() == [b"a", b"b"]


def test_a_malformed_url_is_reported() -> None:
    with pytest.raises(StepError, match="GOVC_URL"):
        read({"GOVC_URL": "https://[fe80::1/sdk"})


def test_a_password_may_have_any_bytes() -> None:
    assert credentials({"GOVC_URL": "vc", "GOVC_PASSWORD": "caf\udce9"}) == {"password": b"caf\xe9"}


# --- OpenStack, by the names of openstackclient

QA: dict[str, str] = {
    "OS_AUTH_URL": "https://keystone.example:5000/v3",
    "OS_PROJECT_NAME": "shop",
    "OS_USER_DOMAIN_NAME": "people",
    "OS_USERNAME": "admin",
    "OS_PASSWORD": "secret",
    "OS_VM_NAME": "Web Server 1",
    "OS_REGION_NAME": "RegionOne",
}


def cloud(**environ: str) -> OpenstackSource:
    (source,) = read(environ).sources
    assert isinstance(source, OpenstackSource)
    return source


def test_the_variables_of_the_qa_plan_give_a_cloud_and_a_server() -> None:
    spec = cloud(**QA).spec
    assert (spec.endpoint, spec.region) == ("https://keystone.example:5000/v3", "RegionOne")
    assert not spec.insecure_skip_tls_verify
    (made,) = read(QA).imports
    assert (made.metadata.name, made.spec.virtual_machine_name) == ("web-server-1", "Web Server 1")
    assert (made.spec.source_cluster.kind, made.spec.source_cluster.name) == ("OpenstackSource", NAME)


def test_the_domain_of_the_user_is_the_default_for_the_project() -> None:
    found = credentials(QA)
    assert (found["domain_name"], found["user_domain_name"]) == (b"people", b"people")
    assert "project_domain_name" not in found
    found = credentials(QA | {"OS_PROJECT_DOMAIN_NAME": "projects"})
    assert (found["user_domain_name"], found["project_domain_name"]) == (b"people", b"projects")


def test_the_provider_reads_the_credentials_of_the_environment(tmp_path: Path) -> None:
    """Writer and reader of the keys: a rename in only one of them breaks this test."""
    for key, value in credentials(QA | {"OS_PROJECT_DOMAIN_NAME": "projects"}).items():
        (tmp_path / key).write_bytes(value)
    assert Credentials.read(tmp_path).options == {
        "username": "admin",
        "user_domain_name": "people",
        "password": "secret",
        "project_name": "shop",
        "project_domain_name": "projects",
    }


def test_an_application_credential_is_read(tmp_path: Path) -> None:
    environ = {
        "OS_AUTH_URL": "https://keystone.example:5000/v3",
        "OS_APPLICATION_CREDENTIAL_ID": "a1",
        "OS_APPLICATION_CREDENTIAL_SECRET": "s3",
    }
    for key, value in credentials(environ).items():
        (tmp_path / key).write_bytes(value)
    assert Credentials.read(tmp_path).method == "application-credential"


def test_the_ca_file_of_a_cloud_is_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"pem")
    assert credentials(QA | {"OS_CACERT": f"{tmp_path}/ca.pem"})["ca_cert"] == b"pem"
    with pytest.raises(StepError, match=r"none\.pem.*OS_CACERT"):
        read(QA | {"OS_CACERT": "/none.pem"})


@pytest.mark.parametrize(("text", "wanted"), [("1", True), ("True", True), ("0", False), ("", False)])
def test_tls_of_a_cloud_is_verified_unless_disabled(text: str, wanted: bool) -> None:
    assert cloud(**QA, OS_INSECURE=text).spec.insecure_skip_tls_verify is wanted


@pytest.mark.parametrize(("text", "wanted"), [("internal", "internal"), ("adminURL", "admin"), ("", "")])
def test_old_names_of_the_interface_are_accepted(text: str, wanted: str) -> None:
    assert cloud(**QA, OS_INTERFACE=text).spec.interface == wanted


def test_each_set_of_variables_gives_a_source_and_its_vm() -> None:
    both = read(QA | {"GOVC_URL": "u:p@vcenter.example", "VM_NAME": "web01"})
    assert [source.kind for source in both.sources] == ["VmwareSource", "OpenstackSource"]
    assert [made.spec.source_cluster.kind for made in both.imports] == ["VmwareSource", "OpenstackSource"]
    assert both.source("") is None
    assert both.source("openstacksource") == cloud(**QA)
    assert both.credentials(cloud(**QA))["username"] == b"admin"


def test_a_malformed_keystone_url_is_reported() -> None:
    with pytest.raises(StepError, match="OS_AUTH_URL"):
        read({"OS_AUTH_URL": "https://[fe80::1/v3"})


@pytest.mark.parametrize("variable", ["VM_NAME", "OS_VM_NAME"])
def test_a_name_that_is_not_text_is_reported(variable: str) -> None:
    with pytest.raises(StepError, match=f"{variable} is not printable text"):
        read({variable: "caf\udce9"})


def test_an_ovirt_engine_is_read_in_the_names_of_its_own_tools(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    environ = {
        "OVIRT_URL": "https://engine.example/ovirt-engine/api",
        "OVIRT_USERNAME": "admin@internal",
        "OVIRT_PASSWORD": "p",
        "OVIRT_CAFILE": str(tmp_path / "ca.pem"),
        "OVIRT_CLUSTER": "Default",
        "OVIRT_VM_NAME": "web",
    }
    (given,) = read(environ).given
    assert isinstance(given.source, OvirtSource)
    spec = given.source.spec
    assert (spec.endpoint, spec.cluster) == ("https://engine.example/ovirt-engine/api", "Default")
    assert given.credentials == {"username": b"admin@internal", "password": b"p", "caCert": b"PEM"}
    assert given.import_ is not None
    assert given.import_.spec.source_cluster.kind == "OvirtSource"


def test_a_cluster_with_kubevirt_is_a_kubeconfig(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(
        """
current-context: it
contexts: [{name: it, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://api.example:6443"}}]
users: [{name: u, user: {token: secret}}]
"""
    )
    environ = {
        "KUBEVIRT_KUBECONFIG": str(file),
        "KUBEVIRT_NAMESPACE": "shop",
        "KUBEVIRT_EXPORT_ADDRESS": "https://export.example",
        "KUBEVIRT_VM_NAME": "web",
    }
    (given,) = read(environ).given
    assert isinstance(given.source, KubeVirtSource)
    spec = given.source.spec
    assert (spec.endpoint, spec.namespace) == ("https://api.example:6443", "shop")
    assert spec.export_address == "https://export.example"
    assert given.credentials == {"kubeconfig": file.read_bytes()}
    assert given.import_ is not None
    assert given.import_.spec.source_cluster.kind == "KubeVirtSource"


def test_a_kubeconfig_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    for text in ("", "users: []"):
        (tmp_path / "kubeconfig").write_text(text)
        with pytest.raises(StepError, match="kubeconfig"):
            read({"KUBEVIRT_KUBECONFIG": str(tmp_path / "kubeconfig")})
    with pytest.raises(StepError, match="KUBEVIRT_KUBECONFIG"):
        read({"KUBEVIRT_KUBECONFIG": str(tmp_path / "none")})
