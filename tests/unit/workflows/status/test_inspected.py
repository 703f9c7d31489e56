"""The condition about what was found on the disks. Its words are a guest's."""

from __future__ import annotations

from typing import Any

import pytest

from steps.inspect import not_inspected
from steps.model.guest import Guest
from steps.model.guest_judge import judged
from steps.model.guest_output import to_output
from tests.unit.steps.model.test_guest_judge import a_linux, a_windows, facts
from tests.unit.workflows.status.situations import node, reflected, upto
from workflows.api.conditions import find
from workflows.api.status import Condition
from workflows.status.inspected import guest_inspected


def condition(text: str | None) -> Condition | None:
    outputs: dict[str, Any] = {} if text is None else {"parameters": [{"name": "guest", "value": text}]}
    status = reflected(*upto("image"), node("inspect", outputs=outputs))
    return find(status.import_conditions, "GuestInspected")


def test_it_names_the_system_the_evidence_and_the_warnings() -> None:
    guest = judged(facts(a_windows({"hibernated": True})))
    found = condition(to_output(guest))
    assert found is not None
    assert (found.status, found.reason) == ("True", "LeftAlone")
    for words in ("Windows Server 2022", "disks: sata", "NICs: e1000e", "warn: ", "hibernated"):
        assert words in found.message


def test_disks_that_could_not_be_looked_into_are_not_inspected() -> None:
    found = condition(to_output(not_inspected("the appliance of libguestfs does not start")))
    assert found is not None
    assert (found.status, found.reason) == ("False", "NotInspected")
    assert "does not start" in found.message


@pytest.mark.parametrize("text", [None, "", "AAAA", "{}", '{"version": "1"}', "A" * 200_000])
def test_without_a_valid_document_there_is_no_condition(text: str | None) -> None:
    assert condition(text) is None


@pytest.mark.parametrize("product", ["\x1b[2Jroot\n\r\x00", "x" * 2000, "\u202eevil", "{{workflow.name}}"])
def test_words_of_a_guest_are_bounded_and_escaped(product: str) -> None:
    guest: Guest = judged(facts(a_linux(product=f"A{product}")))
    made: Any = guest_inspected(guest)
    assert made.message.isprintable()
    assert all(len(part) <= 320 for part in made.message.split(" | "))
    assert len(made.message) <= 8192
