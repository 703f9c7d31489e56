from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Concern, Power, Severity
from steps.model.plan import NamePolicy, NetworkPolicy, NetworkRule, Plan
from steps.preflight import examine, refusal_reasons, refuse
from tests.unit.builders import a_machine, a_nic, a_plan
from tests.unit.providers import FakeProvider


def codes(plan: Plan, **machine: Any) -> list[Exit]:
    return [code for code, _ in refusal_reasons(plan, a_machine(**machine))]


def test_a_vm_that_is_off_can_be_imported() -> None:
    assert codes(a_plan()) == []
    refuse(a_plan(), a_machine(nics=(a_nic(),)))


def powered(plan: Plan | None = None, *, force: bool = False, **machine: Any) -> list[Exit]:
    plan = plan or a_plan()
    plan = plan.model_copy(update={"power": plan.power.model_copy(update={"force": force})})
    return codes(plan, **machine)


def test_a_running_vm_needs_tools_or_force() -> None:
    assert powered(power=Power.ON) == [Exit.POWER]
    assert powered(power=Power.ON, tools_running=True) == []
    assert powered(power=Power.ON, force=True) == []


def test_only_checks_of_the_source_are_skipped() -> None:
    skipping = a_plan().model_copy(update={"skip_preflight_checks": True})
    assert codes(skipping, power=Power.ON) == []
    assert codes(skipping, disks=()) == [Exit.UNSUPPORTED]


def test_a_vm_without_disks_is_refused_with_one_reason() -> None:
    concern = Concern(severity=Severity.BLOCK, code="no-disks", message="no disks")
    assert codes(a_plan(), disks=(), concerns=(concern,)) == [Exit.UNSUPPORTED]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("network-unknown", Exit.NOT_FOUND), ("suspended", Exit.POWER), ("rdm", Exit.UNSUPPORTED)],
)
def test_a_blocking_concern_has_its_exit_code(code: str, wanted: Exit) -> None:
    concerns = tuple(Concern(severity=severity, code=code, message="x") for severity in Severity)
    assert codes(a_plan(), concerns=concerns) == [wanted]


def test_all_reasons_are_reported_with_the_code_of_the_first() -> None:
    plan = a_plan(name_policy=NamePolicy.STRICT)
    with pytest.raises(StepError) as caught:
        refuse(plan, a_machine(name="Web01", disks=(), power=Power.ON))
    assert caught.value.code is Exit.INVALID
    assert str(caught.value).count(" | ") == 2
    assert "is not RFC 1123 compliant" in str(caught.value)
    assert "spec.forcePowerOff: true" in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "refused"), [(NetworkPolicy.LENIENT, False), (NetworkPolicy.STRICT, True)]
)
def test_an_unknown_source_network_is_reported_or_refused(policy: NetworkPolicy, refused: bool) -> None:
    rule = NetworkRule(source="bogus", destination="default/a")
    plan = a_plan(networks=(rule,), network_policy=policy)
    machine = examine(FakeProvider(a_machine()), plan)
    assert [concern.code for concern in machine.concerns] == ["network-unknown"]
    assert [code for code, _ in refusal_reasons(plan, machine)] == ([Exit.NOT_FOUND] if refused else [])


def test_a_row_by_id_is_known() -> None:
    rule = NetworkRule(source="network-7", destination="default/a")
    nic = a_nic(network="VM Network", network_id="network-7")
    plan = a_plan(networks=(rule,), network_policy=NetworkPolicy.STRICT)
    assert examine(FakeProvider(a_machine(nics=(nic,))), plan).concerns == ()


def test_skipped_checks_do_not_list_networks() -> None:
    rule = NetworkRule(source="bogus", destination="default/a")
    plan = a_plan(networks=(rule,)).model_copy(update={"skip_preflight_checks": True})
    assert examine(FakeProvider(a_machine()), plan).concerns == ()
