from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError

from controller.manifests.read import Manifests, read
from steps.model.document import first_error
from steps.model.plan import InterfaceModel
from tests.unit.builders import an_import
from workflows.api.resources import Secret
from workflows.api.spec import VirtualMachineImportSpec

MANIFESTS: Final = Path(__file__).parents[2] / "workflows" / "api" / "manifests"


def the(name: str) -> Manifests:
    return read([str(MANIFESTS / f"{name}.yaml")])


@pytest.mark.parametrize("path", sorted(MANIFESTS.iterdir()), ids=lambda path: path.stem)
def test_every_manifest_of_the_documentation_is_accepted(path: Path) -> None:
    found = read([str(path)])
    assert found.imports
    assert found.sources
    assert found.ignored == []


def test_the_documented_import_is_read_correctly() -> None:
    found = the("vsphere")
    spec = found.imports["default", "import-alpine"].spec
    assert spec.virtual_machine_name == "alpine"
    assert [(row.source_network, row.destination_network) for row in spec.network_mapping] == [
        ("dvSwitch A", "default/vlan1"),
        ("dvSwitch B", "default/vlan2"),
    ]
    assert ("vmwaresource", "default", "lab-vcenter") in found.sources
    assert found.secrets["default", "vsphere-login"].values()["password"] == b"something"


def test_every_field_of_vm_import_controller_is_known() -> None:
    spec = the("everything").imports["shop", "import-all"].spec
    assert spec.force_power_off is True
    assert spec.graceful_shutdown_timeout_seconds == 300
    assert spec.default_disk_bus_type == "scsi"
    assert spec.network_mapping[0].network_interface_model is InterfaceModel.E1000E
    assert spec.network_mapping[1].network_interface_model is None


def test_null_means_the_default() -> None:
    spec = the("nullable").imports["default", "import-nulls"].spec
    reference = spec.source_cluster.model_copy(update={"kind": "", "name": ""})
    bare = spec.model_copy(update={"virtual_machine_name": "", "source_cluster": reference})
    assert bare == VirtualMachineImportSpec()


def refusal(**spec: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        an_import(**spec)
    return first_error(caught.value)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"storageclass": "fast"}, "spec.storageclass"),
        (
            {"networkMapping": [{"sourceNetwork": "a"}, {"destination": "b"}]},
            "spec.networkMapping.1.destination",
        ),
        ({"defaultDiskBusType": "ide"}, "spec.defaultDiskBusType"),
        ({"defaultNetworkInterfaceModel": "vmxnet3"}, "spec.defaultNetworkInterfaceModel"),
        ({"virtualMachineName": 12}, "spec.virtualMachineName"),
        ({"networkMapping": {"a": "b"}}, "spec.networkMapping"),
        ({"forcePowerOff": "perhaps"}, "spec.forcePowerOff"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(spec: dict[str, Any], path: str) -> None:
    assert refusal(**spec).startswith(f"{path}: ")


def test_a_field_in_python_spelling_is_unknown() -> None:
    """Manifests use the names of the resource only; code may use Python's."""
    with pytest.raises(ValidationError) as caught:
        VirtualMachineImportSpec.model_validate({"storage_class": "fast"}, by_alias=True, by_name=False)
    assert first_error(caught.value).startswith("storage_class: ")


def test_an_unknown_field_of_the_source_reference_is_refused() -> None:
    assert refusal(sourceCluster={"nmae": "vc"}).startswith("spec.sourceCluster.nmae: ")


def test_a_number_is_not_a_boolean() -> None:
    assert refusal(forcePowerOff=1).startswith("spec.forcePowerOff: ")


def secret(**data: Any) -> Secret:
    return Secret.model_validate({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **data})


def test_data_of_a_secret_is_decoded_and_string_data_wins() -> None:
    both = secret(data={"a": "b25l", "b": "dHdv"}, stringData={"b": "drei", "c": "ü"})
    assert both.values() == {"a": b"one", "b": b"drei", "c": "ü".encode()}


@pytest.mark.parametrize("data", [{}, {"data": None, "stringData": None}])
def test_a_secret_without_data_is_empty(data: dict[str, Any]) -> None:
    assert secret(**data).values() == {}


def test_plain_text_in_data_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValidationError, match=r"password is not base64 .*belongs under stringData"):
        secret(data={"password": "plain text!"})


def test_wrapped_base64_is_decoded() -> None:
    assert secret(data={"caCert": "b25l\ndHdv\n"}).values() == {"caCert": b"onetwo"}


def test_a_null_value_is_empty() -> None:
    assert secret(data={"a": None}).values() == {"a": b""}


@pytest.mark.parametrize(
    "wrong", [{"data": {"password": "hunter2!"}}, {"stringData": {"password": ["hunter2"]}}]
)
def test_no_error_shows_a_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        secret(**wrong)
    assert "hunter2" not in str(caught.value)


def test_a_status_from_a_cluster_is_ignored() -> None:
    assert the("everything").sources["ovasource", "default", "an-ova"].status == {"status": "clusterReady"}
