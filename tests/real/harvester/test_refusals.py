"""The message and the exit code if Harvester's own webhook refuses what an import requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steps.model.contract import Exit
from tests.real.cluster.lab import Lab
from tests.real.harvester import refusals
from tests.real.harvester.refusals import REFUSED, Act, World, assert_refused


@pytest.fixture
def world(lab: Lab, real: object) -> Iterator[World]:
    assert real
    with refusals.world(lab) as made:
        yield made


@pytest.mark.parametrize(("act", "code", "words"), REFUSED, ids=[act.__name__ for act, _, _ in REFUSED])
def test_a_refusal_is_final_and_has_a_reason(world: World, act: Act, code: Exit, words: str) -> None:
    assert_refused(world, act, code, words)


def test_unusual_but_valid_objects_are_accepted(world: World) -> None:
    refusals.let_in(world)
