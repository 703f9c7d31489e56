"""The definitions are up to date in the chart, valid, and as lenient as those of vm-import-controller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from workflows.api.crd import CHART_FILE, KINDS, manifests, render
from workflows.api.migration_plan import FIXED
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import RESOURCES
from workflows.api.status import ImportPhase, ImportStatus

Json = dict[str, Any]
ROOT: Final = Path(__file__).parents[4]
ACCEPTED: Final = [
    document
    for path in sorted((Path(__file__).parent / "accepted").glob("*.yaml"))
    for document in YAML(typ="safe").load_all(path)
]
NAMES: Final = [f"{one['kind']}/{one['metadata']['name']}" for one in ACCEPTED]


def test_chart_file_is_generated_from_the_models() -> None:
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "generated files are written by a person, who reads the diff"
        (ROOT / CHART_FILE).write_text(render(chart=True))
    assert (ROOT / CHART_FILE).read_text() == render(chart=True), "run: make golden"


def test_chart_file_has_no_template_except_its_switch() -> None:
    inside = render(chart=True).splitlines()[2:-1]
    assert not [line for line in inside if "{{" in line]


def definition(kind: str) -> Json:
    return next(one for one in manifests() if one["spec"]["names"]["kind"] == kind)


def version(kind: str) -> Json:
    (only,) = definition(kind)["spec"]["versions"]
    found: Json = only
    return found


def test_names_are_those_of_vm_import_controller_and_ovirt() -> None:
    assert {one["metadata"]["name"] for one in manifests()} == {
        "virtualmachineimports.migration.harvesterhci.io",
        "vmwaresources.migration.harvesterhci.io",
        "openstacksources.migration.harvesterhci.io",
        "ovasources.migration.harvesterhci.io",
        "ovirtsources.migration.harvesterhci.io",
        "importmappings.migration.harvesterhci.io",
        "importhooks.migration.harvesterhci.io",
        "migrationplans.migration.harvesterhci.io",
        "kubevirtsources.migration.harvesterhci.io",
    }
    assert {one.name for one in KINDS} == {
        *RESOURCES,
        "VirtualMachineImport",
        "ImportMapping",
        "ImportHook",
        "MigrationPlan",
    }


LENIENT: Final = [one.name for one in KINDS if not one.is_strict]


@pytest.mark.parametrize("kind", LENIENT)
def test_one_namespaced_version_with_a_status_that_helm_keeps(kind: str) -> None:
    made, only = definition(kind), version(kind)
    assert made["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert (made["spec"]["scope"], only["name"]) == ("Namespaced", "v1beta1")
    assert (only["served"], only["storage"], only["subresources"]) == (True, True, {"status": {}})


def test_status_is_the_first_column_as_in_vm_import_controller() -> None:
    columns = version("VirtualMachineImport")["additionalPrinterColumns"]
    assert [one["name"] for one in columns] == ["Status", "VM", "Step", "%", "ETA", "Age", "Message"]
    assert columns[0]["jsonPath"] == ".status.importStatus"
    assert [one["name"] for one in columns if one.get("priority")] == ["Message"]
    for source in RESOURCES:
        assert version(source)["additionalPrinterColumns"][0]["jsonPath"] == ".status.status"


def fields(node: Json, path: str = "") -> list[tuple[str, Json]]:
    """Every node of a schema below the root, with its path."""
    found = []
    for name, part in node.get("properties", {}).items():
        found += [(f"{path}.{name}", part), *fields(part, f"{path}.{name}")]
    return found + (fields(node["items"], f"{path}[]") if "items" in node else [])


OWN: Final = (
    ".spec.virtualMachine.",
    ".spec.markSource.",
    ".spec.guest.",
    ".spec.bootCheck.",
    ".spec.hooks[].",
)
"""Below fields of vmferry's own in a lenient kind: what is there is strict."""


def all_fields() -> list[Any]:
    schemas = {kind: version(kind)["schema"]["openAPIV3Schema"] for kind in LENIENT}
    return [
        pytest.param(part, id=f"{kind}{path}")
        for kind, made in schemas.items()
        for path, part in fields(made)
        if not path.startswith(OWN)
    ]


@pytest.mark.parametrize("part", all_fields())
def test_every_field_is_described_and_nothing_is_required(part: Json) -> None:
    assert part["description"]
    assert not {"required", "default", "additionalProperties", "anyOf", "$ref", "title"} & set(part)
    if part["type"] in ("string", "array"):
        assert part["nullable"]


def test_the_mapping_has_no_status_and_stays_when_the_chart_is_removed() -> None:
    made, only = definition("ImportMapping"), version("ImportMapping")
    assert made["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "subresources" not in only
    assert list(only["schema"]["openAPIV3Schema"]["properties"]) == ["spec"]


STRICT: Final = [
    pytest.param(part, id=path)
    for path, part in fields(version("ImportMapping")["schema"]["openAPIV3Schema"])
]


@pytest.mark.parametrize("part", STRICT)
def test_the_mapping_is_explained_in_sentences_and_nothing_is_null(part: Json) -> None:
    assert part["description"][0].isupper()
    assert part["description"].endswith(".")
    assert "nullable" not in part
    if part["type"] == "string":
        assert "maxLength" in part or "enum" in part, "the API server bounds the cost of the rules by it"
    if part["type"] == "array":
        assert (part["maxItems"], len(part["x-kubernetes-validations"])) == (256, 1)


BELOW: Final = [
    pytest.param(part, id=path)
    for path, part in fields(version("VirtualMachineImport")["schema"]["openAPIV3Schema"])
    if path.startswith(OWN)
]


@pytest.mark.parametrize("part", BELOW)
def test_a_field_of_our_own_is_explained_in_sentences_and_bounded(part: Json) -> None:
    assert part["description"][0].isupper()
    assert part["description"].endswith(".")
    assert "nullable" not in part
    if part["type"] == "string":
        assert "maxLength" in part or "enum" in part
    if part["type"] == "array":
        assert part["maxItems"]
    if part["type"] == "object" and "properties" not in part:
        assert part["maxProperties"]
        assert part["additionalProperties"]["maxLength"]


NOT_NULLABLE: Final = {  # plain ints, bools and structs of vm-import-controller's Go types
    "VirtualMachineImport": {
        ".spec",
        ".status",
        ".spec.sourceCluster",
        ".spec.gracefulShutdownTimeoutSeconds",
    },
    "VmwareSource": {".spec", ".status", ".spec.credentials", ".spec.insecureSkipTLSVerify"},
    "OpenstackSource": {
        ".spec",
        ".status",
        ".spec.credentials",
        ".spec.insecureSkipTLSVerify",
        ".spec.uploadImageRetryCount",
        ".spec.uploadImageRetryDelay",
    },
    "OvaSource": {".spec", ".status", ".spec.insecureSkipTLSVerify"},
}


@pytest.mark.parametrize("kind", NOT_NULLABLE)
def test_same_fields_are_nullable_as_in_vm_import_controller(kind: str) -> None:
    nodes = fields(version(kind)["schema"]["openAPIV3Schema"])
    found = [(path, part) for path, part in nodes if not path.startswith(OWN)]
    plain = {path for path, part in found if not part.get("nullable") and not path.startswith(".status.")}
    assert plain == NOT_NULLABLE[kind]


def test_nic_model_enum_accepts_the_empty_string() -> None:
    found = dict(fields(version("VirtualMachineImport")["schema"]["openAPIV3Schema"]))
    models = ["e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139", "virtio", ""]
    assert found[".spec.defaultNetworkInterfaceModel"]["enum"] == models
    assert found[".spec.networkMapping[].networkInterfaceModel"]["enum"] == models
    assert "enum" not in found[".spec.defaultDiskBusType"]
    assert found[".spec.approvals"]["items"]["enum"] == ["poweroff", "start"]


@pytest.mark.parametrize("given", ACCEPTED, ids=NAMES)
def test_models_accept_what_the_definitions_accept(given: Json) -> None:
    """Except an unknown bus: the schema accepts it, the controller reports it as invalid."""
    if given["metadata"]["name"] == "any-bus":
        pytest.skip("refused by the model, in words")
    model = RESOURCES.get(given["kind"], VirtualMachineImport)
    assert model.model_validate(given) is not None


def test_status_of_vm_import_controller_is_read() -> None:
    status = ImportStatus.read(next(one for one in ACCEPTED if "status" in one)["status"])
    (disk,) = status.disk_import_status
    assert (status.import_status, status.workflow) == (ImportPhase.IMAGE_FAILED, None)
    assert (disk.virtual_machine_image, disk.disk_size, disk.bus_type) == ("image-x7k2p", 40 << 30, "sata")


@pytest.mark.parametrize(
    "value",
    [None, 7, "x", [], {"importStatus": 7}, {"diskImportStatus": {"a": 1}}, {"percent": None}, {1: 2}],
)
def test_any_status_can_be_read(value: object) -> None:
    assert ImportStatus.read(value) == ImportStatus()


def test_a_malformed_field_does_not_affect_the_others() -> None:
    found = ImportStatus.read({"importStatus": "sourceReady", "percent": "much", "import_status": 7})
    assert found.percent == 0


TEMPLATES: Final = (".spec.template.", ".spec.vms[].overrides.")
"""Below these the schema is that of an import."""
OF_PLAN: Final = [
    pytest.param(part, id=path)
    for path, part in fields(
        version("MigrationPlan")["schema"]["openAPIV3Schema"]["properties"]["spec"], ".spec"
    )
    if not path.startswith(TEMPLATES)
]


@pytest.mark.parametrize("part", OF_PLAN)
def test_the_plan_is_explained_in_sentences_and_bounded(part: Json) -> None:
    assert part["description"][0].isupper() or part["description"].startswith("`")
    assert part["description"].endswith(".")
    if part.get("x-kubernetes-int-or-string"):
        return
    if part["type"] == "string":
        assert "maxLength" in part or "enum" in part
    if part["type"] == "array":
        assert "maxItems" in part
    if part["type"] == "integer":
        assert "minimum" in part


def test_a_template_has_the_fields_of_an_import_except_the_vm() -> None:
    spec = version("MigrationPlan")["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    of_import = version("VirtualMachineImport")["schema"]["openAPIV3Schema"]["properties"]["spec"]
    left_out = set(of_import["properties"]) - set(spec["template"]["properties"])
    assert left_out == {*FIXED, "targetVirtualMachineName"}
    assert spec["template"]["x-kubernetes-validations"] == of_import["x-kubernetes-validations"]
    of_row = spec["vms"]["items"]["properties"]["overrides"]
    assert set(of_import["properties"]) - set(of_row["properties"]) == set(FIXED)
    assert "x-kubernetes-validations" not in str(of_row)


def test_the_columns_of_a_plan_tell_how_far_it_is() -> None:
    columns = version("MigrationPlan")["additionalPrinterColumns"]
    assert [one["name"] for one in columns] == ["Status", "Wave", "Done", "Failed", "VMs", "Age", "Message"]
    assert columns[1]["jsonPath"] == ".status.progress"
