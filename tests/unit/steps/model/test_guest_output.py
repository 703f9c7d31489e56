"""The document of an inspection as a text of a Workflow: whatever a guest wrote, it fits."""

from __future__ import annotations

import base64
import gzip
import random

import pytest

from steps.model.contract import Exit, StepError
from steps.model.guest import Guest, NetworkAddress
from steps.model.guest_judge import judged
from steps.model.guest_output import LONGEST_DOCUMENT, LONGEST_OUTPUT, SHORTENED, from_output, to_output
from tests.unit.steps.model.test_guest_judge import a_linux, facts


def noise(length: int, seed: int) -> str:
    """A text that does not shrink."""
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


def noisy(count: int) -> Guest:
    guest = judged(facts(a_linux()))
    assert guest.system is not None
    network = tuple(
        NetworkAddress(stack="netplan", name=noise(400, number), addresses=(noise(400, -number - 1),))
        for number in range(count)
    )
    return guest.model_copy(update={"system": guest.system.model_copy(update={"network": network})})


def test_a_document_comes_back_as_it_was() -> None:
    guest = judged(facts(a_linux()))
    assert from_output(to_output(guest)) == guest
    assert "{{" not in to_output(guest)


def test_what_is_too_long_loses_the_parts_that_decide_nothing() -> None:
    guest = noisy(400)
    text = to_output(guest)
    assert len(text) <= LONGEST_OUTPUT
    found = from_output(text)
    assert found.system is not None
    assert guest.system is not None
    assert (found.system.network, found.system.os) == ((), guest.system.os)
    assert found.trouble == (SHORTENED,)
    assert (found.disk_buses, found.nic_models) == (guest.disk_buses, guest.nic_models)
    assert (found.concerns, found.verdict) == (guest.concerns, guest.verdict)


def test_a_system_that_is_too_long_by_itself_is_left_out() -> None:
    guest = noisy(1)
    assert guest.system is not None
    system = guest.system.model_copy(update={"product": noise(200_000, 1)})
    found = from_output(to_output(guest.model_copy(update={"system": system})))
    assert found.system is None
    assert found.disk_buses == guest.disk_buses


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{}",
        base64.b64encode(b"no gzip").decode(),
        base64.b64encode(gzip.compress(b"[]", mtime=0)).decode(),
        base64.b64encode(gzip.compress(b"{}", mtime=0)).decode(),
        base64.b64encode(gzip.compress(b"0" * (LONGEST_DOCUMENT + 1), mtime=0)).decode(),
        "A" * (LONGEST_OUTPUT + 4),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(StepError) as caught:
        from_output(text)
    assert caught.value.code is Exit.INVALID
