"""Each rule in CEL of `v2v.kubevirt.io` refuses one object and accepts its neighbour.

`RULES` has a row for each message of the definitions: a rule without a row fails a test here.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from steps.model.kinds import RESOURCE_MAPPING, V2V_API_VERSION, V2V_GROUP, V2V_IMPORT
from tests.real.crd.judge import Row, assert_judged_as, judged, judged_rows
from tests.real.crd.test_rules import ROOT, messages
from tests.unit.controller.manifests.test_v2v import CORRECTED
from workflows.api.crd_v2v import manifests, render
from workflows.api.v2v import ResourceMappingSpec, V2vImportSpec
from workflows.v2v import mapping_refusals, refusals

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")

Json = dict[str, Any]
IMPORT: Final = V2V_IMPORT.kind
MAPPING: Final = RESOURCE_MAPPING.kind
NOW: Final = datetime(2026, 11, 30, tzinfo=UTC)


def an_import(*, mappings: Json | None = None, **more: Any) -> Json:
    of_vmware: Json = {"vm": {"name": "web"}, **({"mappings": mappings} if mappings else {})}
    return {"providerCredentialsSecret": {"name": "login"}, "source": {"vmware": of_vmware}, **more}


def a_vm(kind: str, **vm: Any) -> Json:
    return an_import(source={kind: {"vm": vm}})


def network(**row: Any) -> Json:
    return {"networkMappings": [{"source": {"name": "a/b"}, "target": {"name": "x"}, **row}]}


def disk(**row: Any) -> Json:
    return {"diskMappings": [{"source": {"name": "a"}, **row}]}


def storage(**row: Any) -> Json:
    return {"storageMappings": [{"source": {"name": "a"}, **row}]}


ONE: Final = "exactly one of ovirt and vmware"
BOTH: Final = {"ovirt": {"vm": {"id": "a"}}, "vmware": {"vm": {"id": "a"}}}
RULES: Final[tuple[Row, ...]] = (  # kind, refused, accepted, words of the message
    (IMPORT, an_import(source={}), an_import(), ONE),
    (IMPORT, an_import(source=BOTH), an_import(source={"ovirt": {"vm": {"id": "a"}}}), ONE),
    (IMPORT, a_vm("vmware"), a_vm("vmware", id="4205"), "neither id nor name"),
    (IMPORT, a_vm("vmware", id="", name=""), a_vm("vmware", id="", name="web"), "neither id nor name"),
    (
        IMPORT,
        a_vm("ovirt", cluster={"name": "Default"}),
        a_vm("ovirt", name="web", cluster={"name": "Default"}),
        "neither id nor name",
    ),
    (
        IMPORT,
        an_import(providerCredentialsSecret={"name": ""}),
        an_import(providerCredentialsSecret={"name": "my.login", "namespace": "vault"}),
        "name is empty",
    ),
    (
        IMPORT,
        an_import(providerCredentialsSecret={"name": "My Login"}),
        an_import(resourceMapping={"name": "my.map"}),
        "use lower-case letters, digits, '-' and '.'",
    ),
    (IMPORT, an_import(resourceMapping={"name": ""}), an_import(), "name is empty"),
    (
        IMPORT,
        an_import(resourceMapping={"name": "map", "namespace": "My Maps"}),
        an_import(resourceMapping={"name": "map", "namespace": ""}),
        "use at most 63 lower-case letters",
    ),
    (
        IMPORT,
        an_import(targetVmName="Web_01"),
        an_import(targetVmName="web-01"),
        "use at most 63 lower-case letters",
    ),
    (IMPORT, an_import(targetVmName="-"), an_import(targetVmName=""), "use at most 63 lower-case letters"),
    *(
        (IMPORT, an_import(mappings=refused), an_import(mappings=accepted), words)
        for refused, accepted, words in (
            (network(type="sriov"), network(type="multus"), "type must be pod, multus, or left out"),
            (network(type="Pod"), network(type=""), "type must be pod, multus, or left out"),
            (disk(volumeMode="block"), disk(volumeMode="Block"), "volumeMode must be Filesystem, Block"),
            (disk(accessMode="RWX"), disk(accessMode="ReadWriteMany"), "accessMode must be ReadWriteOnce, "),
            (storage(accessMode="RWO"), storage(type="anything", accessMode=""), "accessMode must be"),
        )
    ),
    *(
        (MAPPING, {kind: refused}, {kind: accepted}, words)
        for kind in ("ovirt", "vmware")
        for refused, accepted, words in (
            (network(type="sriov"), network(type="pod"), "type must be pod, multus, or left out"),
            (storage(volumeMode="raw"), storage(volumeMode="Filesystem"), "volumeMode must be Filesystem"),
            (storage(accessMode="RWO"), storage(accessMode="ReadWriteOncePod"), "accessMode must be"),
        )
    ),
)


def an_object(kind: str, spec: Json) -> Json:
    metadata = {"name": "web", "namespace": "shop"}
    return {"apiVersion": V2V_API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("v2v") / "crds.yaml"
    path.write_text(render())
    return path


@pytest.fixture(scope="module")
def answers(definitions: Path) -> list[tuple[Json, Json]]:
    """The two answers of each row, from one start of the judge."""
    return judged_rows(definitions, RULES, an_object)


@pytest.mark.parametrize("row", range(len(RULES)), ids=[f"{kind}-{words}" for kind, _, _, words in RULES])
def test_a_rule_refuses_one_object_and_accepts_its_neighbour(
    row: int, answers: list[tuple[Json, Json]]
) -> None:
    assert_judged_as(RULES[row], answers[row])


@pytest.mark.parametrize("row", range(len(RULES)), ids=[f"{kind}-{words}" for kind, _, _, words in RULES])
def test_vmferry_judges_a_file_in_the_same_way(row: int) -> None:
    kind, refused, accepted, _ = RULES[row]
    assert list(reasons(kind, refused)) != []
    assert list(reasons(kind, accepted)) == []


def reasons(kind: str, spec: Json) -> list[str]:
    """Why vmferry makes no plan of an import; of a mapping: of an import of its source that uses it."""
    if kind == IMPORT:
        wanted, shared = V2vImportSpec.model_validate(spec), None
    else:
        (source,) = spec
        wanted = V2vImportSpec.model_validate(a_vm(source, name="web"))
        shared = ResourceMappingSpec.model_validate(spec)
    return [one.message for one in (*refusals(wanted, NOW), *mapping_refusals(wanted, shared))]


@pytest.mark.parametrize("definition", manifests(), ids=lambda one: one["spec"]["names"]["kind"])
def test_every_rule_has_a_row(definition: Json) -> None:
    kind = definition["spec"]["names"]["kind"]
    (version,) = definition["spec"]["versions"]
    for message in messages(version["schema"]["openAPIV3Schema"]):
        assert [words for of, _, _, words in RULES if of == kind and words in message], message


OLD: Final = (CORRECTED, (ROOT / "examples" / "15-v2v.yaml").read_text())


@pytest.mark.parametrize("text", OLD, ids=["design document", "example"])
def test_an_older_manifest_stays_valid(definitions: Path, text: str) -> None:
    documents = [one for one in YAML(typ="safe").load_all(text) if isinstance(one, dict)]
    ours = [one for one in documents if str(one.get("apiVersion", "")).startswith(V2V_GROUP)]
    assert ours
    assert [answer["errors"] for answer in judged(definitions, ours)] == [[]] * len(ours)


def test_what_the_operator_accepted_and_ignored_stays_accepted(definitions: Path) -> None:
    """A row that names nothing, a type in a row for storage, a warm import of the past, plain names."""
    rows = {
        "networkMappings": [{"source": {}}, {"source": {"name": "a"}, "target": "x", "type": "multus"}],
        "storageMappings": [{"source": {"id": "", "name": ""}, "type": "lun", "target": "fast"}],
    }
    past = {"warm": True, "finalizeDate": "2020-01-01T00:00:00Z"}
    (answer,) = judged(definitions, [an_object(IMPORT, an_import(mappings=rows, **past))])
    assert (answer["errors"], answer["pruned"]) == ([], [])


def test_full_lists_are_within_the_cost_limit_of_the_api_server(definitions: Path) -> None:
    rows = [
        {"source": {"id": f"{n:04}" * 60, "name": "n" * 200}, "target": {"name": "x" * 253}, "type": "multus"}
        for n in range(1024)
    ]
    disks = [{**row, "type": "t" * 200, "volumeMode": "Block", "accessMode": "ReadWriteMany"} for row in rows]
    lists = {"networkMappings": rows, "storageMappings": disks, "diskMappings": disks}
    (answer,) = judged(definitions, [an_object(MAPPING, {"vmware": lists, "ovirt": lists})])
    assert answer["errors"] == []
