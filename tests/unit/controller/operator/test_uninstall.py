"""The pre-delete hook: whether the chart may be uninstalled, and what it deletes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.operator import uninstall
from controller.operator.options import PATH_ENV
from controller.operator.uninstall import check
from steps.model import names
from steps.model.contract import TERMINATION_LOG_ENV, Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, SECRET, WORKFLOW
from tests.unit.controller.operator.world import KEY, World
from tests.unit.workflows.status.situations import failed, found, node, upto

DONE = (*upto("end"), node("start"))


def running() -> World:
    world = World()
    world.look()
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    return world


def failing() -> World:
    world = running()
    world.argo(found(), failed("export", 13, "scratch is full", "disk-0"), phase="Failed")
    world.look(2)
    return world


def refused_by_preflight() -> World:
    world = World()
    world.look()
    world.argo(failed("preflight", 14, "no such VM"), phase="Failed")
    world.look(2)
    return world


def leaving() -> World:
    world = running()
    world.delete()
    world.look()
    return world


def waiting_for_its_source() -> World:
    world = World()
    world.set_source("clusterNotReady")
    world.look()
    return world


def refused_before_it_began() -> World:
    world = World(storageClass="slow")
    world.look()
    return world


def done() -> World:
    world = running()
    world.argo(*DONE, phase="Succeeded")
    world.look(2)
    return world


NEEDED = [
    (running, "default/web (sourceReady)"),
    (failing, "default/web (VMMigrationFailed)"),
    (refused_by_preflight, "default/web (virtualMachineImportInvalid)"),
    (leaving, "default/web (is being deleted)"),
]


@pytest.mark.parametrize(("make", "shown"), NEEDED)
def test_an_unfinished_import_prevents_the_uninstall(make, shown: str) -> None:  # type: ignore[no-untyped-def]
    world = make()
    before = world.cluster.writes()
    with pytest.raises(StepError) as caught:
        check(world.cluster, world.options)
    assert caught.value.code is Exit.BUSY
    assert shown in str(caught.value)
    assert "--no-hooks" in str(caught.value)
    assert world.cluster.writes() == before


@pytest.mark.parametrize("make", [waiting_for_its_source, refused_before_it_began, done])
def test_an_import_without_resources_allows_the_uninstall(make) -> None:  # type: ignore[no-untyped-def]
    world = make()
    check(world.cluster, world.options)
    assert world.cluster.all(SECRET, "vmferry") == []
    assert world.raw is not None
    world.delete()
    assert world.raw is None, "no controller is left to remove a finalizer"


def test_leftovers_of_a_forced_deletion_are_deleted_credentials_first() -> None:
    world = running()
    world.cluster.finish(IMPORT, KEY[1], KEY[0])
    world.cluster.drop(IMPORT, KEY[1], KEY[0])
    assert len(world.cluster.all(SECRET, "vmferry")) == 2
    check(world.cluster, world.options)
    assert world.cluster.all(SECRET, "vmferry") == world.cluster.all(WORKFLOW, "vmferry") == []


def test_only_the_namespaces_of_this_installation_count() -> None:
    world = running()
    world.options = world.options.model_copy(update={"namespaces": ("shop",)})
    check(world.cluster, world.options)
    assert len(world.cluster.all(CONFIG_MAP, "vmferry")) == 2, "its import is there"


def test_without_the_crds_it_reports_leftovers() -> None:
    world = running()
    world.cluster.kinds.discard(IMPORT)
    with pytest.raises(StepError, match=f"delete configmap --selector {names.LABEL_UID}") as caught:
        check(world.cluster, world.options)
    assert caught.value.code is Exit.CONFLICT
    world.cluster.drop(CONFIG_MAP, names.request(world.run), "vmferry")
    assert "no leftovers" in check(world.cluster, world.options)


def test_only_some_of_many_imports_are_named() -> None:
    world = running()
    assert world.raw is not None
    for number in range(12):
        metadata = {**world.raw["metadata"], "name": f"more-{number}", "uid": f"more-{number}"}
        world.cluster.put({**world.raw, "metadata": metadata})
    with pytest.raises(StepError) as caught:
        check(world.cluster, world.options)
    assert "13 import(s)" in str(caught.value)
    assert "and 3 more" in str(caught.value)


def test_the_reason_is_in_the_termination_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, words, options = running(), tmp_path / "words", tmp_path / "controller.json"
    options.write_text(json.dumps({"namespace": "vmferry"}))
    monkeypatch.setenv(PATH_ENV, str(options))
    monkeypatch.setenv(TERMINATION_LOG_ENV, str(words))
    monkeypatch.setattr(uninstall, "connect", lambda *_, **__: world.cluster)
    monkeypatch.setattr("controller.operator.telemetry.configure", lambda **_: None)
    assert uninstall.main() == Exit.BUSY
    assert words.read_text().startswith("vmferry is not uninstalled: 1 import(s) still need it")
    world.argo(*DONE, phase="Succeeded")
    world.look(2)
    assert uninstall.main() == Exit.DONE
