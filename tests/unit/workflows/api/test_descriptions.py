"""Every field of every definition is described in full sentences, with its unit and its default.

`kubectl explain` and docs/reference/resources.md show these texts. The schemas are read as the API server
gets them, so a field that someone adds is judged, too.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from workflows.api import crd, crd_v2v

Json = dict[str, Any]
LEAST_WORDS: Final = 4
UNITS: Final = (
    *(
        r"\bbytes\b",
        r"\bseconds\b",
        r"\bminutes\b",
        r"\bpercent\b",
        r"\bMiB\b",
        r"\bnumber\b",
        r"\bfrom \d+ to \d+\b",
    ),
    r"\bnever sets\b",
)
"""What an integer counts. `number` also stands in "port number" and "generation number"."""
TIME: Final = re.compile(r"(Time|Since|Date)$|^time$")
DEFAULT: Final = re.compile(r"\b[Tt]he default is\b|\b[Rr]equired\b|\band ignored\b")
"""The default, that there is none because an import needs the field, or that nothing reads it."""


def nodes(node: Json, path: str = "") -> list[tuple[str, Json, bool]]:
    """Each field of a schema below the root: its path, its schema, and whether its object requires it."""
    found = []
    for name, part in node.get("properties", {}).items():
        at = f"{path}.{name}"
        found += [(at, part, name in node.get("required", ())), *nodes(part, at)]
    return found + (nodes(node["items"], f"{path}[]") if "items" in node else [])


def fields(part: str) -> list[Any]:
    """Each field below `spec` or `status` of every kind, as a parameter of a test."""
    found = []
    for definition in (*crd.manifests(), *crd_v2v.manifests()):
        name = definition["metadata"]["name"]
        (version,) = definition["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]["properties"].get(part, {})
        found += [pytest.param(*one, id=f"{name}:{part}{one[0]}") for one in nodes(schema)]
    return found


def faults(path: str, field: Json, *, is_required: bool = True) -> list[str]:
    """What is wrong with the description of a field."""
    text = field.get("description", "")
    found = []
    if not re.match(r"[A-Z0-9\"`]", text) or not text.endswith("."):
        found.append("no sentence")
    if len(text.split()) < LEAST_WORDS:
        found.append("too short")
    name = path.rpartition(".")[2]
    if field.get("type") == "integer" and not any(re.search(unit, text) for unit in UNITS):
        found.append("no unit")
    if TIME.search(name) and "RFC 3339" not in text and "never sets" not in text:
        found.append("no form of the time")
    if not is_required and not DEFAULT.search(text):
        found.append("no default")
    return found


@pytest.mark.parametrize(("path", "field", "is_required"), fields("spec"))
def test_a_field_that_a_person_writes(path: str, field: Json, is_required: bool) -> None:
    assert faults(path, field, is_required=is_required) == [], field.get("description")


@pytest.mark.parametrize(("path", "field", "is_required"), fields("status"))
def test_a_field_of_the_status(path: str, field: Json, is_required: bool) -> None:
    assert faults(path, field) == [], field.get("description")


def test_every_kind_is_walked() -> None:
    kinds = {one.id.partition(":")[0] for one in fields("spec")}
    assert len(kinds) == len(crd.KINDS) + len(crd_v2v.KINDS)
    assert any(".affinity." in one.id for one in fields("spec"))
    assert any("networks[].source.vlan" in one.id for one in fields("spec"))


@pytest.mark.parametrize("definition", [*crd.manifests(), *crd_v2v.manifests()])
def test_every_kind_is_described(definition: Json) -> None:
    (version,) = definition["spec"]["versions"]
    text = version["schema"]["openAPIV3Schema"]["description"]
    assert text.endswith(".")
    assert len(text.split()) >= LEAST_WORDS


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        (".spec.cpus", {"type": "integer"}, ["no sentence", "too short", "no unit", "no default"]),
        (".spec.cpus", {"description": "virtual CPUs of the new VM"}, ["no sentence", "no default"]),
        (".spec.x", {"description": "Its name."}, ["too short", "no default"]),
        (
            ".spec.wait",
            {"type": "integer", "description": "How long it may take. The default is 60."},
            ["no unit"],
        ),
        (".status.time", {"description": "When it ended. The default is never."}, ["no form of the time"]),
        (
            ".spec.wait",
            {"type": "integer", "description": "How many seconds it may take. The default is 60 seconds."},
            [],
        ),
    ],
)
def test_a_bad_description_is_noticed(path: str, field: Json, words: list[str]) -> None:
    assert faults(path, field, is_required=False) == words
