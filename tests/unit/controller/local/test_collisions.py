"""Two imports of one process whose VMs collide at the target: the second one is refused before power-off."""

from __future__ import annotations

from pathlib import Path

from steps.model.collisions import Reservations
from steps.model.contract import Exit
from steps.model.plan import TargetKind
from tests.unit.controller.local.fakes import Import
from workflows.status.nodes import Phase, root_cause


def an_import(folder: Path, name: str, reservations: Reservations) -> Import:
    return Import(folder / name, target=TargetKind.HARVESTER, name=name, reservations=reservations)


def test_the_second_vm_of_a_name_is_refused_before_its_source_is_shut_down(tmp_path: Path) -> None:
    shared = Reservations()
    first, second = (an_import(tmp_path, name, shared) for name in ("a", "b"))
    assert first.run() is Phase.SUCCEEDED
    assert second.run(admit=[], poweroff=[]) is Phase.FAILED
    cause = root_cause(second.workflow)
    assert cause is not None
    assert (cause.stage, cause.exit_code) == ("admit", Exit.CONFLICT)
    assert "default/b and default/a would both become VirtualMachine default/web01" in cause.message
    assert "poweroff" not in second.launcher.began


def test_an_import_that_is_retried_keeps_its_name(tmp_path: Path) -> None:
    only = an_import(tmp_path, "a", Reservations())
    assert only.run(admit=[Exit.NO_SPACE]) is Phase.FAILED
    only.reopen()
    assert only.run(preflight=[]) is Phase.SUCCEEDED


def test_in_folders_equal_names_do_not_meet(tmp_path: Path) -> None:
    shared = Reservations()
    for name in ("a", "b"):
        assert Import(tmp_path / name, name=name, reservations=shared).run() is Phase.SUCCEEDED
