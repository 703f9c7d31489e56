"""The digest of a spec: what makes an import an edited one."""

from __future__ import annotations

from typing import Any

import pytest

from controller.operator.observe.request import spec_digest
from workflows.api.spec import VirtualMachineImportSpec


class LaterSpec(VirtualMachineImportSpec):
    """The spec of a later version, with one more field."""

    new_field: str = ""


def spec(**fields: Any) -> VirtualMachineImportSpec:
    return VirtualMachineImportSpec(virtual_machine_name="web01", **fields)


def test_a_later_version_with_more_fields_retries_no_failed_import() -> None:
    assert spec_digest(LaterSpec(virtual_machine_name="web01")) == spec_digest(spec())
    assert spec_digest(LaterSpec(virtual_machine_name="web01", new_field="x")) != spec_digest(spec())


@pytest.mark.parametrize("field", ["suspend", "cancel", "dry_run"])
def test_a_field_that_controls_the_run_is_no_edit(field: str) -> None:
    assert spec_digest(spec(**{field: True})) == spec_digest(spec())


@pytest.mark.parametrize("change", [{"cpus": 4}, {"storage_class": "fast"}, {"folder": "/"}])
def test_another_field_is_an_edit(change: Any) -> None:
    assert spec_digest(spec(**change)) != spec_digest(spec())
