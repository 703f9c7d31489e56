"""The fields of spec.virtualMachine at Harvester, whose webhook changes run strategies."""

from __future__ import annotations

import pytest

from steps.model.vm_settings import EvictionStrategy, RunStrategy, VmSettings
from tests.unit.steps.targets.harvester.world import World


@pytest.mark.parametrize("strategy", [RunStrategy.ALWAYS, RunStrategy.ONCE, None])
def test_the_run_strategy_survives_the_webhook_at_the_start(strategy: RunStrategy | None) -> None:
    world = World(settings=VmSettings(run_strategy=strategy))
    world.publish_all()
    world.build()
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    world.start()
    assert world.vm()["spec"]["runStrategy"] == (strategy or "RerunOnFailure")


def test_manual_is_not_turned_into_a_start() -> None:
    world = World(start=False, settings=VmSettings(run_strategy=RunStrategy.MANUAL))
    world.carry_out()
    assert world.vm()["spec"]["runStrategy"] == "Manual"


def test_settings_and_patch_are_in_the_vm_that_is_stored() -> None:
    patch = {"spec": {"template": {"spec": {"domain": {"cpu": {"model": "host-model"}}}}}}
    world = World(
        vm_labels={"team": "shop"},
        settings=VmSettings(
            eviction_strategy=EvictionStrategy.NONE,
            node_selector={"zone": "a"},
            patch=patch,
            patch_paths=("spec.template.spec.domain.cpu.model",),
        ),
    )
    world.publish_all()
    world.build()
    spec = world.vm()["spec"]["template"]["spec"]
    assert world.vm()["metadata"]["labels"]["team"] == "shop"
    assert (spec["evictionStrategy"], spec["nodeSelector"]) == ("None", {"zone": "a"})
    assert spec["domain"]["cpu"]["model"] == "host-model"
    assert spec["domain"]["cpu"]["cores"] == 2
