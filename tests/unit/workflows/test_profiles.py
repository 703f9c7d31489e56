"""Profiles of an installation in the request of an import, and in its Workflow."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pydantic import ValidationError

from steps.model.plan import Plan, PodPlan, ProxyPlan, ScratchPlan
from tests.unit.builders import a_source, an_import
from workflows.api.crd import KINDS
from workflows.author.installation import Installation
from workflows.author.workflow import author
from workflows.plan import Invalid, plan
from workflows.settings import Profile, Settings

DMZ: Final = Profile(
    scratch=ScratchPlan(storage_class="fast", filesystem_factor=1.2),
    node_selector={"zone": "dmz"},
    tolerations=({"key": "dmz", "operator": "Exists"},),
    affinity={"nodeAffinity": {}},
    network="infra/transfer",
    proxy=ProxyPlan(https="http://proxy:3128", no_proxy=".local"),
)
SETTINGS: Final = Settings(profiles={"dmz": DMZ, "plain": Profile(), "direct": Profile(proxy=ProxyPlan())})


def planned(settings: Settings = SETTINGS, source: Any = None, **spec: Any) -> Plan:
    return plan(an_import(**spec), source or a_source(), settings)


def named(profile: str) -> Any:
    """A source that names a profile."""
    source = a_source()
    return source.model_copy(update={"spec": source.spec.model_copy(update={"profile": profile})})


def test_the_values_of_the_profile_are_in_the_request() -> None:
    made = planned(profile="dmz")
    assert made.profile == "dmz"
    assert made.scratch == DMZ.scratch
    assert made.pods == PodPlan(
        node_selector={"zone": "dmz"},
        tolerations=({"key": "dmz", "operator": "Exists"},),
        affinity={"nodeAffinity": {}},
        network="infra/transfer",
    )
    assert made.source.proxy == DMZ.proxy
    assert Plan.model_validate_json(made.to_json()) == made


def test_an_import_without_a_profile_has_the_same_request_as_before() -> None:
    text = planned().to_json()
    assert "profile" not in text
    assert "pods" not in text
    assert "proxy" not in text.replace("imageProxyPort", "")
    assert planned(profile="plain").scratch == SETTINGS.scratch


@pytest.mark.parametrize(
    ("own", "of_source", "default", "expected"),
    [
        ("dmz", "plain", "direct", "dmz"),
        ("", "plain", "direct", "plain"),
        (None, "", "direct", "direct"),
        ("", "", "", ""),
    ],
)
def test_the_import_comes_before_its_source_and_the_source_before_the_default(
    own: str | None, of_source: str, default: str, expected: str
) -> None:
    settings = SETTINGS.model_copy(update={"default_profile": default})
    assert planned(settings, named(of_source), profile=own).profile == expected


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        planned(profile="DMZ")
    assert caught.value.reasons == (
        "spec.profile 'DMZ' is not a profile: this installation has: direct, dmz, plain",
    )
    with pytest.raises(Invalid, match="'x' is not a profile: this installation has none; remove the field"):
        planned(Settings(), profile="x")
    with pytest.raises(Invalid, match=r"spec\.profile of VmwareSource 'x' is not a profile"):
        planned(source=named("x"))


def test_a_known_profile_of_the_import_hides_an_unknown_one_of_the_source() -> None:
    assert planned(source=named("x"), profile="dmz").profile == "dmz"


def test_a_person_on_their_own_computer_has_no_profiles() -> None:
    """The manifest of a source may name one: it is about pods, and there are none."""
    local = Settings(mounts_claims=False, local_files=True)
    assert planned(local, named("x")).profile == ""


def test_a_default_that_does_not_exist_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="defaultProfile 'x' is not a profile; there are: dmz"):
        Settings(profiles={"dmz": DMZ}, default_profile="x")


RAW: Final = (
    *("nodeSelector", "tolerations", "affinity", "scratch", "proxy", "network", "pods", "podMetadata"),
    *("annotations", "schedulerName", "serviceAccountName", "podSpecPatch"),
)


@pytest.mark.parametrize("field", RAW)
def test_a_tenant_cannot_pass_placement_itself(field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        an_import("web", "default", **{field: {"a": "b"}})
    for kind in KINDS:
        if kind.name == "ImportHook":  # only who installs vmferry writes it
            continue
        assert field not in kind.spec_schema["properties"]


# --- the Workflow


def workflow(made: Plan) -> Any:
    return author(made, Installation())


def test_the_workflow_has_the_placement_and_the_network_of_the_profile() -> None:
    spec = workflow(planned(profile="dmz"))["spec"]
    assert spec["nodeSelector"] == {"zone": "dmz"}
    assert spec["tolerations"] == [{"key": "dmz", "operator": "Exists"}]
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert spec["podMetadata"] == {"annotations": {"k8s.v1.cni.cncf.io/networks": "infra/transfer"}}


def test_a_workflow_without_a_profile_has_none_of_these_fields() -> None:
    assert set(workflow(planned())["spec"]) == {"arguments", "workflowTemplateRef"}
    assert set(workflow(planned(profile="plain"))["spec"]) == {"arguments", "workflowTemplateRef"}
