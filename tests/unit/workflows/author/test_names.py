"""For any name of an import, a VM or a source, all derived names are valid in Kubernetes."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model import names
from steps.model.plan import ImportRef, Plan, SourcePlan, TargetKind, TargetPlan
from steps.model.sources import SourceKind
from tests.unit.builders import a_plan
from workflows import argo_names
from workflows.accounts import limits_key
from workflows.author.installation import Installation
from workflows.author.template import DESCRIPTION, TITLE
from workflows.author.workflow import author
from workflows.plan import run_name
from workflows.stages import Limit

DNS_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1035, as Services require it: like 1123, but without a digit at the start."""
LABEL_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")
CONFIG_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")

label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
subdomain = st.lists(label, min_size=1, max_size=4).map(lambda parts: ".".join(parts)[:253].rstrip(".-"))
"""The names that the API server accepts for an import or a source."""
uid = st.uuids().map(str)


def planned(name: str, namespace: str, uid: str, generation: int, vm: str, source: str) -> Plan:
    return Plan(
        run=run_name(name, uid, generation),
        import_=ImportRef(name=name, namespace=namespace, uid=uid),
        source=SourcePlan(
            kind=SourceKind.VMWARE, name=source, namespace=namespace, endpoint="https://u:CANARY@vc/sdk"
        ),
        vm=vm,
        target=TargetPlan(kind=TargetKind.HARVESTER, namespace=namespace),
    )


plans = st.builds(planned, subdomain, label, uid, st.integers(1, 99_999), st.text(min_size=1), subdomain)


@given(plans, st.integers(0, 99), st.integers(0, 999))
def test_object_names_of_a_run_are_valid(plan: Plan, attempt: int, disk: int) -> None:
    made = author(plan, Installation(), attempt=attempt)
    for name in (
        made["metadata"]["name"],
        names.claim(plan.run, f"disk-{disk}"),
        names.service(plan.run, f"disk-{disk}"),
        names.request(plan.run),
        names.machine(plan.run),
        names.volumes(made["metadata"]["name"]),
        names.credentials(plan.run),
        names.address(plan.run),
    ):
        assert DNS_LABEL.fullmatch(name), name


@given(plans)
def test_labels_are_valid(plan: Plan) -> None:
    made = author(plan, Installation())["metadata"]
    assert all(LABEL_VALUE.fullmatch(value) for value in made["labels"].values()), made["labels"]
    assert LABEL_VALUE.fullmatch(made["name"]), "Argo labels each pod with its workflow's name"


@given(plans, st.sampled_from(Limit))
def test_keys_of_limits_are_valid(plan: Plan, limit: Limit) -> None:
    for key in (argo_names.row_key(plan.source), limits_key(plan.source, {"username": "dQ=="})):
        assert CONFIG_KEY.fullmatch(argo_names.limit_key(key, limit))


@given(plans)
def test_vm_name_is_only_in_the_title(plan: Plan) -> None:
    """Argo would expand `{{…}}` in the spec."""
    made = author(plan.model_copy(update={"vm": "{{workflow.name}}\nX"}), Installation())
    assert "{{" not in str(made["spec"])
    assert "\n" not in made["metadata"]["annotations"][TITLE]


@given(plans)
def test_workflow_contains_no_address_of_the_source(plan: Plan) -> None:
    assert "CANARY" not in str(author(plan, Installation(), attempt=3, owner="uid"))


def test_shortened_labels_stay_different() -> None:
    one, other = (names.label_value("a" * 80 + end) for end in "bc")
    assert len(one) <= 63
    assert one != other
    assert names.label_value("web.prod") == "web.prod"


def test_sources_with_the_same_name_have_different_rows() -> None:
    keys = {
        argo_names.row_key(SourcePlan(kind=kind, name="vc", namespace=namespace, endpoint=""))
        for kind in SourceKind
        for namespace in ("a", "b")
    }
    assert len(keys) == 2 * len(SourceKind)
    assert "vmwaresource.a.vc" in keys


def test_a_retry_with_a_new_workflow_keeps_the_request() -> None:
    plan = a_plan()
    first, second = (author(plan, Installation(), attempt=attempt) for attempt in (0, 1))
    assert first["metadata"]["name"] == plan.run
    assert second["metadata"]["name"] == f"{plan.run}-r1"
    assert first["spec"] == second["spec"]


def test_the_request_owns_the_workflow() -> None:
    made = author(a_plan(), Installation(), owner="1234")["metadata"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "vmi-web-0a1b2c3d-g1-request", "uid": "1234"}
    assert made["ownerReferences"] == [owner]
    assert "ownerReferences" not in author(a_plan(), Installation())["metadata"]


@pytest.mark.parametrize(("vm", "shown"), [("web01", "web01"), ("a_b*c <i>", r"a\_b\*c \<i\>")])
def test_title_escapes_markdown_in_the_name(vm: str, shown: str) -> None:
    made = author(a_plan(vm=vm), Installation())["metadata"]["annotations"]
    assert made[TITLE] == f"**{shown}** from vc"
    expected = f"VirtualMachineImport default/web imports {shown} from VmwareSource "
    assert made[DESCRIPTION].startswith(expected)
