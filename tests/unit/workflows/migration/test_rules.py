"""What is wrong with a plan: each fault is named, and a plan that uses everything has none."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pydantic import ValidationError

from tests.unit.workflows.migration.plans import a_plan
from workflows.migration.rules import reasons

GOOD: Final[dict[str, Any]] = {
    "sourceCluster": {
        "apiVersion": "migration.harvesterhci.io/v1beta1",
        "kind": "VmwareSource",
        "name": "vcenter",
        "namespace": "infra",
    },
    "vms": [
        {"name": "db-01", "overrides": {"memory": "16Gi", "targetVirtualMachineName": "db"}},
        {"folder": "/DC0/vm/prod", "tags": ["env:prod", "wave*"]},
        {"name": "web*"},
    ],
    "exclude": ["*-old"],
    "template": {"storageClass": "fast", "importMapping": {"name": "dc1"}, "onFailure": "restorePower"},
    "waves": {
        "size": 10,
        "pauseMinutes": 30,
        "approval": True,
        "failureThreshold": "20%",
        "atThreshold": "stopStarting",
    },
    "windows": [
        {"days": ["Sat", "Sun"], "start": "22:00", "end": "06:00", "timeZone": "Europe/Berlin"},
        {"dates": ["2026-12-24"], "start": "00:00", "end": "00:00"},
    ],
    "priority": 10,
    "limits": {"perHost": 2, "perStorageClass": 4},
    "suspend": True,
}


def test_a_plan_with_every_field_is_right() -> None:
    assert list(reasons(a_plan(**GOOD))) == []


WRONG: Final[list[tuple[dict[str, Any], str]]] = [
    ({"vms": []}, "spec.vms is empty"),
    ({"vms": [{}]}, "spec.vms[0]: it needs name, folder or tags"),
    ({"vms": [{"tags": []}]}, "spec.vms[0]: it needs name, folder or tags"),
    ({"vms": [{"name": "a", "wave": 1}, {"name": "b"}]}, "some rows of spec.vms have a wave and some do not"),
    ({"vms": [{"name": "a", "wave": 0}]}, "spec.vms[0]: wave is 0"),
    ({"vms": [{"name": "a", "wave": 1}], "waves": {"size": 2}}, "spec.waves.size has no effect"),
    (
        {"vms": [{"name": "a*", "overrides": {"targetVirtualMachineName": "b"}}]},
        "spec.vms[0]: overrides.targetVirtualMachineName is for one VM",
    ),
    ({"vms": [{"name": "a"}] * 257}, "spec.vms has 257 entries; write at most 256"),
    ({"sourceCluster": {"name": "vc"}}, "spec.sourceCluster.kind is empty"),
    ({"sourceCluster": {"kind": "OvaSource"}}, "spec.sourceCluster.name is empty"),
    ({"waves": {"size": 0}}, "spec.waves.size is 0"),
    ({"waves": {"size": 1001}}, "spec.waves.size is 1001"),
    ({"waves": {"pauseMinutes": -1}}, "spec.waves.pauseMinutes is -1"),
    ({"waves": {"pauseMinutes": 525601}}, "spec.waves.pauseMinutes is 525601: write 0 to 525600"),
    ({"waves": {"pauseMinutes": 10**18}}, "spec.waves.pauseMinutes is 1000000000000000000"),
    ({"vms": [{"name": "a", "wave": 1001}]}, "spec.vms[0]: wave is 1001"),
    ({"limits": {"perHost": 1001}}, "spec.limits.perHost is 1001"),
    ({"waves": {"failureThreshold": 0}}, "spec.waves.failureThreshold is '0'"),
    ({"waves": {"failureThreshold": "101%"}}, "spec.waves.failureThreshold is '101%'"),
    ({"waves": {"failureThreshold": "3"}}, "spec.waves.failureThreshold is '3'"),
    ({"windows": [{"start": "24:00", "end": "06:00"}]}, "spec.windows[0]: start is '24:00'"),
    ({"windows": [{"start": "22:00"}]}, "spec.windows[0]: end is ''"),
    (
        {"windows": [{"start": "22:00", "end": "06:00", "days": ["Mon"], "dates": ["2026-12-24"]}]},
        "spec.windows[0]: it has days and dates",
    ),
    ({"windows": [{"start": "22:00", "end": "06:00", "dates": ["2026-1-1"]}]}, "'2026-1-1' is not a date"),
    ({"limits": {"perHost": 0}}, "spec.limits.perHost is 0"),
    ({"limits": {"perStorageClass": -1}}, "spec.limits.perStorageClass is -1"),
    ({"priority": 1001}, "spec.priority is 1001"),
]
NOT_IN_THE_SCHEMA: Final[list[tuple[dict[str, Any], str]]] = [
    (
        {"windows": [{"start": "22:00", "end": "06:00", "dates": ["0001-01-01"]}]},
        "'0001-01-01' is not a date",
    ),
    (
        {"windows": [{"start": "22:00", "end": "06:00", "dates": ["2026-02-30"]}]},
        "'2026-02-30' is not a date",
    ),
    ({"windows": [{"start": "1:00", "end": "06:00"}]}, "spec.windows[0]: start is '1:00'"),
    (
        {"windows": [{"start": "22:00", "end": "06:00", "timeZone": "Europe/Atlantis"}]},
        "spec.windows[0]: there is no time zone 'Europe/Atlantis'",
    ),
    ({"template": {"cpus": 0}}, "spec.template: spec.cpus is 0"),
    ({"template": {"storageClass": "No/Class"}}, "spec.template: spec.storageClass"),
    ({"vms": [{"name": "a", "overrides": {"memory": "much"}}]}, "spec.vms[0].overrides: spec.memory 'much'"),
]


@pytest.mark.parametrize(("spec", "words"), [*WRONG, *NOT_IN_THE_SCHEMA])
def test_each_fault_is_named(spec: dict[str, Any], words: str) -> None:
    found = list(reasons(a_plan(**spec)))
    assert any(words in reason for reason in found), found


def test_a_name_that_is_too_long_for_the_names_of_imports() -> None:
    assert list(reasons(a_plan("p" * 41))) == [
        f"the name {'p' * 41} has 41 characters; a plan has at most 40"
    ]
    assert list(reasons(a_plan("p" * 40))) == []


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"sourceCluster": {"name": "other"}}, "the plan has it in spec.sourceCluster"),
        ({"virtualMachineName": "web"}, "spec.vms selects the VMs"),
        ({"folder": "prod"}, "spec.vms selects the VMs"),
        ({"dryRun": True}, "set spec.suspend of the plan, or run `vmferry plan`"),
        ({"suspend": True}, "set spec.suspend"),
        ({"cancel": True}, "cancel single imports"),
        ({"targetVirtualMachineName": "web"}, "write it into overrides of its row"),
        ({"metadata": {}}, "metadata: unknown field"),
        ({"networkMapping": [{"sourceNetwerk": "a"}]}, "networkMapping.0.sourceNetwerk: unknown field"),
    ],
)
def test_a_template_has_only_fields_of_an_import_that_many_can_share(
    field: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match="template") as caught:
        a_plan(template=field)
    assert words in str(caught.value)
