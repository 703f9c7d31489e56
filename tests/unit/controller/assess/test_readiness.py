from __future__ import annotations

import pytest

from controller.assess.readiness import NO_SHUTDOWN, Readiness, assess_all
from steps.model.concerns import block, log, warn
from steps.model.machine import Machine, Power
from tests.unit.builders import a_cloud, a_machine, a_nic, a_source, an_archive
from workflows.api.sources import Source


def codes(machine: Machine, source: Source) -> tuple[Readiness, list[str], list[str]]:
    (found,) = assess_all([machine], source)
    return found.readiness, [one.code for one in found.blockers], [one.code for one in found.warnings]


@pytest.mark.parametrize("source", [a_source(), a_cloud(), an_archive(), a_source(dc="")])
def test_a_plain_vm_is_ready_at_every_source(source: Source) -> None:
    assert codes(a_machine(), source) == (Readiness.READY, [], [])


def test_what_changes_is_a_warning_and_what_prevents_an_import_blocks_it() -> None:
    concerns = (log("a", "x"), warn("b", "x"), block("c", "x"))
    assert codes(a_machine(concerns=concerns[:1]), a_source())[0] is Readiness.READY
    assert codes(a_machine(concerns=concerns[:2]), a_source()) == (Readiness.WARNINGS, [], ["b"])
    assert codes(a_machine(concerns=concerns), a_source()) == (Readiness.BLOCKED, ["c"], ["b"])


def test_what_the_target_cannot_do_counts_too() -> None:
    assert codes(a_machine(disks=()), a_source())[1] == ["no-disks"]
    twice = (a_nic(0), a_nic(1, mac="00:50:56:00:00:00"))
    assert "mac-twice" in codes(a_machine(nics=twice), a_source())[2]


def test_a_vm_that_cannot_be_shut_down_is_blocked() -> None:
    running = a_machine(power=Power.ON, tools_running=False)
    assert codes(running, a_source()) == (Readiness.BLOCKED, [NO_SHUTDOWN], [])
    assert codes(a_machine(power=Power.ON, tools_running=True), a_source())[0] is Readiness.READY


def test_a_network_without_a_mapping_says_nothing_about_the_vm() -> None:
    assert codes(a_machine(nics=(a_nic(0), a_nic(1))), a_source()) == (Readiness.READY, [], [])


def test_the_order_of_the_vms_stays() -> None:
    names = ["b", "a", "c"]
    found = assess_all([a_machine(name=name) for name in names], a_source())
    assert [one.machine.name for one in found] == names
