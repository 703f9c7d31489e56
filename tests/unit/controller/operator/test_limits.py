"""Limits per account: what the controller copies, what a copy follows, and when it goes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from controller.operator.limits import COPIED, PER_SOURCE, PHASE, ROWS, Needed, follow, patch_for, prepare
from controller.operator.options import Limits, Options
from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import CONFIG_MAP, WORKFLOW, Object
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from tests.unit.controller.operator.world import World
from workflows import argo_names
from workflows.accounts import limits_key
from workflows.stages import Limit

ROW = "vmwaresource.default.vcenter"


def begun() -> World:
    world = World()
    world.look()
    return world


def limits(world: World) -> Object:
    found = world.cluster.peek(CONFIG_MAP, argo_names.LIMITS, "vmferry")
    assert found is not None
    return found


def key_of(world: World) -> str:
    """The key of the limits of the Workflow."""
    key: str = world.workflow()["metadata"]["labels"][names.LABEL_LIMITS]
    return key


def value(world: World, limit: Limit = Limit.MACHINES) -> str | None:
    found: str | None = limits(world)["data"].get(f"{key_of(world)}.{limit}")
    return found


def change(world: World, data: dict[str, str | None], notes: dict[str, str] | None = None) -> None:
    patch: Any = {"data": data, "metadata": {"annotations": notes or {}}}
    world.cluster.patch(CONFIG_MAP, argo_names.LIMITS, patch, "vmferry")


def upgrade(world: World, machines: int, notes: dict[str, str] | None = None) -> None:
    """`helm upgrade --set limits.machines=N`: Helm writes its keys, the new controller has new options."""
    change(world, {"default.machines": str(machines)}, notes)
    world.options = world.options.model_copy(update={"limits": Limits(machines=machines)})
    follow(world.cluster, world.options)


# --- values


def test_a_workflow_has_the_key_of_its_account() -> None:
    world = begun()
    (parameter,) = [
        one["value"] for one in world.workflow()["spec"]["arguments"]["parameters"] if one["name"] == "source"
    ]
    assert parameter == key_of(world)
    assert key_of(world).startswith("vmware.vcenter.")
    assert (value(world), value(world, Limit.STREAMS)) == ("2", "4")


def test_an_upgrade_changes_the_limits_of_a_known_account() -> None:
    world = begun()
    upgrade(world, 3)
    assert (value(world), value(world, Limit.STREAMS)) == ("3", "4")
    upgrade(world, 1)
    assert value(world) == "1"


def test_an_edited_key_stays() -> None:
    world = begun()
    change(world, {f"{key_of(world)}.machines": "5"})
    upgrade(world, 3)
    assert value(world) == "5"
    upgrade(world, 5)
    upgrade(world, 2)
    assert value(world) == "5", "it is the person's for good"


@pytest.mark.parametrize("by_chart", [True, False])
def test_a_row_of_the_source_counts(by_chart: bool) -> None:
    """From `limits.perSource`, or written by a person, as with earlier versions."""
    world = World()
    change(world, {f"{ROW}.machines": "1"}, {PER_SOURCE: f"{ROW}.machines"} if by_chart else {})
    world.look()
    assert (value(world), value(world, Limit.STREAMS)) == ("1", "4")
    upgrade(world, 3)
    assert value(world) == "1"
    change(world, {f"{ROW}.machines": "6"})
    follow(world.cluster, world.options)
    assert value(world) == "6", "it follows the row"
    change(world, {f"{ROW}.machines": None})
    follow(world.cluster, world.options)
    assert value(world) == "3", "without the row it follows the default"
    assert ROWS not in limits(world)["metadata"]["annotations"]


def test_of_several_rows_of_one_account_the_least_counts() -> None:
    world = World()
    other = "vmwaresource.shop.vc"
    change(world, {f"{ROW}.machines": "7", f"{other}.machines": "3"})
    credentials, keys = {"username": "ZmVycnk="}, set[str]()
    for name, namespace in (("vcenter", "default"), ("vc", "shop")):
        source = SourcePlan(
            kind=SourceKind.VMWARE, name=name, namespace=namespace, endpoint="https://vcenter/sdk"
        )
        keys.add(prepare(world.cluster, world.options, source, credentials))
    (key,) = keys
    assert limits(world)["data"][f"{key}.machines"] == "3"


@pytest.mark.parametrize("text", ["", "many", "-1", "1e3"])
def test_a_row_that_is_no_number_does_not_count(text: str) -> None:
    world = World()
    change(world, {f"{ROW}.machines": text})
    world.look()
    assert value(world) == "2"


@pytest.mark.parametrize("marks", ["", "{", "[]", '{"x": "2", "y.machines": 1}', '{"x": {}}'])
@pytest.mark.parametrize("annotation", [COPIED, ROWS])
def test_malformed_marks_are_ignored(marks: str, annotation: str) -> None:
    world = begun()
    change(world, {}, {annotation: marks})
    follow(world.cluster, world.options)
    assert value(world) == "2"


def test_a_second_call_writes_nothing() -> None:
    world = begun()
    before = world.cluster.writes()
    follow(world.cluster, world.options)
    assert world.cluster.writes() == before
    marked = set(json.loads(limits(world)["metadata"]["annotations"][COPIED]))
    assert marked == {f"{key_of(world)}.machines", f"{key_of(world)}.streams"}


def test_a_missing_config_map_has_a_remedy() -> None:
    world = World()
    world.cluster.drop(CONFIG_MAP, argo_names.LIMITS, "vmferry")
    with pytest.raises(StepError, match="install or upgrade the chart"):
        follow(world.cluster, world.options)


def test_a_key_that_somebody_deleted_comes_back() -> None:
    """Without it Argo fails the import."""
    world = begun()
    change(world, {f"{key_of(world)}.machines": None})
    follow(world.cluster, world.options)
    assert value(world) == "2"


# --- what is no longer needed


def test_keys_go_with_the_last_workflow_that_may_use_them() -> None:
    world = begun()
    world.workflow()["metadata"]["labels"][PHASE] = "Failed"
    follow(world.cluster, world.options)
    assert value(world) == "2", "it may be retried in Argo"
    world.workflow()["metadata"]["labels"][PHASE] = "Succeeded"
    follow(world.cluster, world.options)
    assert set(limits(world)["data"]) == {"default.machines", "default.streams"}
    assert limits(world)["metadata"]["annotations"].get(COPIED) is None


def test_an_edited_key_is_never_removed() -> None:
    world = begun()
    key = f"{key_of(world)}.machines"
    change(world, {key: "5"})
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    follow(world.cluster, world.options)
    assert limits(world)["data"][key] == "5"


def test_a_workflow_of_an_earlier_version_keeps_its_keys() -> None:
    """It has the key of its row as a parameter, and no label."""
    world = begun()
    old = {f"{ROW}.machines": "2", f"{ROW}.streams": "4"}
    marks = json.loads(limits(world)["metadata"]["annotations"][COPIED])
    change(world, dict(old), {COPIED: json.dumps(marks | old)})
    del world.workflow()["metadata"]["labels"][names.LABEL_LIMITS]
    follow(world.cluster, world.options)
    assert old.items() <= limits(world)["data"].items()
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    follow(world.cluster, world.options)
    assert set(limits(world)["data"]) == {"default.machines", "default.streams"}


def test_a_copy_of_an_earlier_version_is_no_row() -> None:
    world = World()
    old = {f"{ROW}.machines": "9"}
    change(world, dict(old), {COPIED: json.dumps(old)})
    world.look()
    assert value(world) == "2"


def test_a_patch_is_for_one_version_only() -> None:
    config_map = {"metadata": {"name": "x", "resourceVersion": "7"}, "data": {}}
    change = patch_for(config_map, Options().defaults, needed=Needed({"vmware.a.0a1b2c3d"}, rows=False))
    assert change is not None
    assert change["metadata"]["resourceVersion"] == "7"


# --- accounts


def a_source(endpoint: str, kind: SourceKind = SourceKind.VMWARE, **more: Any) -> SourcePlan:
    return SourcePlan(kind=kind, endpoint=endpoint, **{"name": "a", **more})


USER = {"username": "ZmVycnk=", "password": "c2VjcmV0"}


@pytest.mark.parametrize(
    "endpoint", ["https://VC.example:443/sdk", "vc.example", "https://vc.example./", " https://vc.example/x "]
)
def test_all_spellings_of_an_endpoint_have_the_same_limits(endpoint: str) -> None:
    assert limits_key(a_source(endpoint), USER) == limits_key(a_source("https://vc.example/sdk"), USER)


def test_two_sources_with_one_account_share_the_limits() -> None:
    other = a_source("https://vc.example/sdk", name="b", namespace="tenant", datacenter="DC1")
    assert limits_key(other, {**USER, "password": "bmV3"}) == limits_key(a_source("https://vc.example"), USER)
    upper = {"username": "RkVSUlk="}
    assert limits_key(other, upper) == limits_key(other, USER), "vSphere ignores case"


@pytest.mark.parametrize(
    ("endpoint", "credentials"),
    [
        ("https://vc.example:8443", USER),
        ("https://vc2.example", USER),
        ("https://vc.example", {"username": "eA=="}),
    ],
)
def test_other_accounts_have_limits_of_their_own(endpoint: str, credentials: dict[str, str]) -> None:
    assert limits_key(a_source(endpoint), credentials) != limits_key(a_source("https://vc.example"), USER)


def test_a_place_without_an_account_has_limits_for_each_namespace() -> None:
    """A tenant must not hold the places of another one at a public server."""
    keys = {
        limits_key(
            a_source("https://files.example/x.ova", SourceKind.OVA, namespace=namespace, name=name), {}
        )
        for namespace in ("a", "b")
        for name in ("x", "y")
    }
    assert len(keys) == 2


@pytest.mark.parametrize(
    "endpoint", ["", "https://", "https://[", "https://[fe80::1]:8443/", "https://" + "h" * 2000]
)
def test_any_endpoint_has_a_key_that_is_a_label(endpoint: str) -> None:
    key = limits_key(a_source(endpoint), USER)
    assert names.label_value(key) == key
    assert 10 < len(key) <= 63


def test_a_renewed_kubeconfig_keeps_its_limits() -> None:
    def key(number: int, subject: str = "importer", endpoint: str = "https://api.example:6443") -> str:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": subject, "iat": number}).encode()).decode()
        kubeconfig = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": endpoint}}],
            "users": [{"name": "u", "user": {"token": f"e30.{claims.rstrip('=')}.x"}}],
        }
        encoded = base64.b64encode(json.dumps(kubeconfig).encode()).decode()
        source = SourcePlan(kind=SourceKind.KUBEVIRT, name="a", endpoint=endpoint)
        return limits_key(source, {"kubeconfig": encoded})

    assert key(1) == key(2) == key(1, endpoint="https://API.example:6443/")
    assert key(1).startswith("kubevirt.api.example.")
    assert len({key(1), key(1, "another"), key(1, endpoint="https://other.example:6443")}) == 3
