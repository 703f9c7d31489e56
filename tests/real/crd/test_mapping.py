"""The ImportMapping, before the API server's own code: types, and the rules in CEL.

What the schema refuses, vmferry refuses in a file too, and the other way round.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import API_VERSION
from tests.real.crd.judge import judged
from tests.unit.workflows.test_import_mapping import WRONG, a_mapping, network, storage
from workflows.api.crd import render
from workflows.import_mapping import reasons

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")
pytestmark = needs_go

Json = dict[str, Any]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crds") / "crds.yaml"
    path.write_text(render())
    return path


def an_object(**spec: Any) -> Json:
    metadata = {"name": "dc1", "namespace": "infra"}
    return {"apiVersion": API_VERSION, "kind": "ImportMapping", "metadata": metadata, "spec": spec}


def errors(definitions: Path, **spec: Any) -> list[str]:
    (answer,) = judged(definitions, [an_object(**spec)])
    found: list[str] = answer["errors"]
    assert answer["pruned"] == []
    return found


GOOD: Final[Json] = {
    "networks": [
        network(),
        network("infra/vlan.1", source={"id": "network-7"}, networkInterfaceModel="e1000", mac="new"),
        network(None, source={"vlan": 4094}, type="pod"),
        network(None, source={"mac": "00-50-56-AA-bb-01"}, type="ignored"),
        network("vlan2", source={"name": "network-7"}, type="multus"),
    ],
    "storage": [storage(), storage("other", "")],
    "disks": [
        {"source": {"id": "2000"}, "storageClass": ""},
        {"source": {"name": "2000"}, "busType": "virtio"},
    ],
}


def test_every_kind_of_row_is_accepted(definitions: Path) -> None:
    assert errors(definitions, **GOOD) == []
    assert list(reasons(a_mapping(**GOOD))) == []
    assert errors(definitions) == []


NOT_IN_THE_SCHEMA: Final = ("mac '00:50:56:aa:bb:01'",)
"""What only vmferry refuses: one MAC address in two spellings."""


@pytest.mark.parametrize(("spec", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_what_vmferry_refuses_the_api_server_refuses(spec: Json, words: str, definitions: Path) -> None:
    if any(text in words for text in NOT_IN_THE_SCHEMA):
        assert errors(definitions, **spec) == []
        return
    given = {name: [_without_null(row) for row in some] for name, some in spec.items()}
    assert errors(definitions, **given)


def _without_null(row: Json) -> Json:
    return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"networks": [network(source={"name": "a", "vlan": 1})]}, "exactly one of name, id, vlan, mac"),
        ({"networks": [network(), network("b")]}, "two rows have the same source"),
        ({"networks": [network(None)]}, "needs destinationNetwork"),
        ({"networks": [network("a/b/c")]}, "must be NAME or NAMESPACE/NAME"),
        ({"networks": [network("b", type="pod")]}, "write destinationNetwork, or the type pod or ignored"),
        ({"networks": [network(None, type="ignored", mac="new")]}, "have no effect: remove them"),
        ({"disks": [{"source": {"id": "1"}}]}, "a row needs storageClass or busType"),
        ({"storage": [{"source": {"id": "1"}}]}, "storageClass: Required value"),
        ({"networks": [network(type="bridge")]}, 'supported values: "multus", "pod", "ignored"'),
        ({"networks": [network(source={"vlan": "12"})]}, "must be of type integer"),
        ({"networks": "vlan1"}, "must be of type array"),
    ],
)
def test_a_refusal_says_what_to_write(spec: Json, words: str, definitions: Path) -> None:
    assert words in " | ".join(errors(definitions, **spec))


def test_an_unknown_field_is_pruned_as_elsewhere(definitions: Path) -> None:
    (answer,) = judged(definitions, [an_object(networks=[network(host="esx1")])])
    assert (answer["errors"], answer["pruned"]) == ([], ["spec.networks[0].host"])


def test_a_full_mapping_is_within_the_limits_of_the_api_server(definitions: Path) -> None:
    """The server ends an evaluation that costs too much."""
    rows = [network(source={"name": f"{number:03}" * 170}) for number in range(256)]
    assert errors(definitions, networks=rows, storage=[storage(f"{n:03}" * 170) for n in range(256)]) == []
    assert "two rows have the same source" in " ".join(errors(definitions, networks=[*rows[:-1], rows[0]]))
