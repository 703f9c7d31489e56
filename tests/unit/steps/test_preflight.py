from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Concern, Machine, Power, Severity, Tag
from steps.model.plan import DiskRule, NamePolicy, NetworkPolicy, NetworkRule, Plan
from steps.model.source_mark import SourceMark
from steps.model.sources import SourceKind
from steps.model.vm_settings import TagLabel, VmSettings
from steps.preflight import examine, refusal_reasons, refuse
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan
from tests.unit.marks import FakeMarker
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


def found(plan: Plan, machine: Machine) -> list[tuple[str, Severity]]:
    return [(one.code, one.severity) for one in examine(FakeProvider(machine), plan).concerns]


@pytest.mark.parametrize("kind", list(SourceKind))
@pytest.mark.parametrize("power", list(Power))
def test_a_hard_power_off_that_the_source_lacks_is_a_warning(kind: SourceKind, power: Power) -> None:
    """Only at OpenStack, and only for a VM that runs; the import continues, as with vm-import-controller."""
    plan = a_plan()
    source = plan.source.model_copy(update={"kind": kind})
    forced = plan.power.model_copy(update={"force": True})
    forcing = plan.model_copy(update={"source": source, "power": forced})
    machine = a_machine(nics=(), power=power, tools_running=True)
    warned = ("force-power-off", Severity.WARN) in found(forcing, machine)
    assert warned is (kind is SourceKind.OPENSTACK and power is Power.ON)
    assert list(refusal_reasons(forcing, examine(FakeProvider(machine), forcing))) == []
    assert "force-power-off" not in dict(found(plan.model_copy(update={"source": source}), machine))


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
    assert "spec.powerOffWithoutGuestTools: true" in str(caught.value)


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


def test_a_running_vm_without_tools_may_be_powered_off_if_the_import_says_so() -> None:
    plan = a_plan()
    power = plan.power.model_copy(update={"force_without_tools": True})
    assert codes(plan.model_copy(update={"power": power}), power=Power.ON) == []


class Tagged(FakeProvider):
    """A source with tags."""

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        return (Tag(name="env", value="live"), Tag(name="other", value="x"))


def test_tags_are_read_only_if_the_import_asks_for_them() -> None:
    rules = VmSettings(tag_labels=(TagLabel(tag="env", label="env"),))
    assert examine(Tagged(a_machine()), a_plan(settings=rules)).tags == (Tag(name="env", value="live"),)
    assert examine(FakeProvider(a_machine()), a_plan()).tags == ()


def test_a_disk_that_is_left_out_is_not_imported_and_named() -> None:
    disks = (a_disk(0, label="Hard disk 1", boot_order=1), a_disk(1, label="Hard disk 2"))
    plan = a_plan(disks=(DiskRule(disk="Hard disk 2", skip=True),))
    machine = examine(FakeProvider(a_machine(disks=disks)), plan)
    assert [disk.id for disk in machine.disks] == ["disk-0"]
    (concern,) = machine.concerns
    assert (concern.code, concern.severity) == ("disk-skipped", Severity.LOG)
    assert list(refusal_reasons(plan, machine)) == []


def test_a_disk_that_cannot_be_imported_can_be_left_out() -> None:
    disks = (a_disk(0), a_disk(1))
    block = Concern(severity=Severity.BLOCK, code="rdm-physical", message="a raw device", disk=disks[1].key)
    other = Concern(severity=Severity.WARN, code="snapshots", message="it has snapshots")
    machine = a_machine(disks=disks, concerns=(block, other))
    assert codes(a_plan(), disks=disks, concerns=(block,)) == [Exit.UNSUPPORTED]
    plan = a_plan(disks=(DiskRule(disk="disk-1", skip=True),))
    found = examine(FakeProvider(machine), plan)
    assert [concern.code for concern in found.concerns] == ["snapshots", "disk-skipped"]
    assert list(refusal_reasons(plan, found)) == []


def test_leaving_out_the_boot_disk_is_a_warning_and_all_disks_a_refusal() -> None:
    disks = (a_disk(0, boot_order=1), a_disk(1))
    rows = [DiskRule(disk=disk.id, skip=True) for disk in disks]
    (concern,) = examine(FakeProvider(a_machine(disks=disks)), a_plan(disks=(rows[0],))).concerns
    assert concern.severity is Severity.WARN
    plan = a_plan(disks=tuple(rows))
    machine = examine(FakeProvider(a_machine(disks=disks)), plan)
    assert [code for code, _ in refusal_reasons(plan, machine)] == [Exit.UNSUPPORTED]


def test_a_row_for_a_disk_that_does_not_exist_is_refused_also_with_skip() -> None:
    plan = a_plan(disks=(DiskRule(disk="disk-7", skip=True),))
    machine = examine(FakeProvider(a_machine()), plan)
    assert [code for code, _ in refusal_reasons(plan, machine)] == [Exit.NOT_FOUND]


def test_two_rows_that_give_volumes_one_name_are_refused() -> None:
    disks = (a_disk(0), a_disk(1))
    plan = a_plan(disks=tuple(DiskRule(disk=disk.id, name="data") for disk in disks))
    machine = examine(FakeProvider(a_machine(disks=disks)), plan)
    assert [code for code, _ in refusal_reasons(plan, machine)] == [Exit.AMBIGUOUS]


class Marked(FakeProvider):
    """Its VM has tags, unless they cannot be read."""

    def __init__(self, *tags: str, error: StepError | None = None) -> None:
        super().__init__(a_machine(nics=()))
        self._marker = FakeMarker("web01", tags=set(tags))
        if error:
            self._marker.fails["has_tag"] = error

    def marker(self, machine: Machine) -> FakeMarker:
        return self._marker


@pytest.mark.parametrize(("tags", "absent"), [((), "moved"), (("prod",), "moved"), (("moved", "prod"), "")])
def test_a_tag_that_the_vm_does_not_have_is_noted_for_an_undo(tags: tuple[str, ...], absent: str) -> None:
    plan = a_plan().model_copy(update={"mark": SourceMark(tag="moved")})
    assert examine(Marked(*tags), plan).absent_tag == absent
    assert examine(Marked(*tags), a_plan()).absent_tag == ""


def test_tags_that_cannot_be_read_do_not_end_the_import() -> None:
    plan = a_plan().model_copy(update={"mark": SourceMark(tag="moved")})
    denied = StepError(Exit.DENIED, "cannot read the tags")
    assert examine(Marked(error=denied), plan).absent_tag == ""
    with pytest.raises(NoAnswerError):
        examine(Marked(error=NoAnswerError(Exit.UNREACHABLE, "no answer")), plan)
