"""What a user reads, and the exit code, where Harvester's own webhook refuses what an import asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steps.model.contract import Exit
from tests.cluster.lab import Lab
from tests.harvester import refusals
from tests.harvester.refusals import REFUSED, Act, World, assert_refused


@pytest.fixture
def world(lab: Lab, real: object) -> Iterator[World]:
    assert real
    with refusals.world(lab) as made:
        yield made


@pytest.mark.parametrize(("act", "code", "words"), REFUSED, ids=[act.__name__ for act, _, _ in REFUSED])
def test_a_refusal_is_final_and_says_why(world: World, act: Act, code: Exit, words: str) -> None:
    assert_refused(world, act, code, words)


def test_what_is_let_in_though_it_looks_wrong(world: World) -> None:
    refusals.let_in(world)
