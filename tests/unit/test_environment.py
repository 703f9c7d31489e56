from __future__ import annotations

from pathlib import Path

import pytest

from controller.environment import NAME, Environment, read
from steps.contract import StepError
from workflows.api import VmwareSourceSpec


def spec(**environ: str) -> VmwareSourceSpec:
    source = read(environ).source
    assert source is not None
    assert source.metadata.name == NAME
    return source.spec


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
def test_the_url_may_be_as_short_as_for_govc_and_holds_no_password(url: str, endpoint: str) -> None:
    assert spec(GOVC_URL=url).endpoint == endpoint


def test_the_urls_user_and_password_are_credentials() -> None:
    found = read({"GOVC_URL": "a%40b:p%3Aw@vcenter.example"}).credentials
    assert found == {"username": b"a@b", "password": b"p:w"}


def test_variables_of_their_own_win_over_the_url() -> None:
    environ = {"GOVC_URL": "a:b@vcenter.example", "GOVC_USERNAME": "c", "GOVC_PASSWORD": "d"}
    assert read(environ).credentials == {"username": b"c", "password": b"d"}


def test_the_datacenter_is_taken() -> None:
    assert spec(GOVC_URL="vc", GOVC_DATACENTER="DC1").dc == "DC1"


@pytest.mark.parametrize(
    ("text", "wanted"), [("1", True), ("true", True), ("TRUE", True), ("0", False), ("", False)]
)
def test_tls_is_verified_unless_said_otherwise(text: str, wanted: bool) -> None:
    assert spec(GOVC_URL="vc", GOVC_INSECURE=text).insecure_skip_tls_verify is wanted


def test_the_authorities_are_read_into_the_credentials(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"pem")
    assert read({"GOVC_URL": "vc", "GOVC_TLS_CA_CERTS": f"{tmp_path}/ca.pem"}).credentials["caCert"] == b"pem"


def test_a_machine_becomes_an_import_of_a_fitting_name() -> None:
    made = read({"VM_NAME": "Web Server 1"}).import_
    assert made is not None
    assert (made.metadata.name, made.spec.virtual_machine_name) == ("web-server-1", "Web Server 1")
    assert made.spec.source_cluster.name == NAME


def test_an_empty_environment_says_nothing() -> None:
    assert read({}) == Environment(None, {}, None)
    assert read({"GOVC_USERNAME": "u", "GOVC_PASSWORD": "p"}) == Environment(None, {}, None)


def test_missing_authorities_are_an_error_a_person_can_read() -> None:
    with pytest.raises(StepError, match="GOVC_TLS_CA_CERTS"):
        read({"GOVC_URL": "vc", "GOVC_TLS_CA_CERTS": "/none.pem"})


def test_several_files_of_authorities_are_taken(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    found = read({"GOVC_URL": "vc", "GOVC_TLS_CA_CERTS": f"{tmp_path}/a:{tmp_path}/b"}).credentials
    assert found["caCert"].split() == [b"a", b"b"]


def test_a_broken_url_is_an_error_a_person_can_read() -> None:
    with pytest.raises(StepError, match="GOVC_URL"):
        read({"GOVC_URL": "https://[fe80::1/sdk"})


def test_a_password_of_any_bytes_is_taken() -> None:
    assert read({"GOVC_URL": "vc", "GOVC_PASSWORD": "caf\udce9"}).credentials == {"password": b"caf\xe9"}
