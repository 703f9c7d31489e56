"""Finds the VM of a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from steps.model import inventory_path
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.providers import connect
from steps.providers.vmware import collector
from tests.real.providers.vmware.conftest import MakeAccess
from tests.real.simulator import Simulator, StartSimulator, make_access

pytestmark = pytest.mark.vcenter


@pytest.fixture
def find(access: MakeAccess) -> Find:
    return Find(access)


class Find:
    def __init__(self, access: MakeAccess) -> None:
        self.access = access

    def __call__(self, vm: str, folder: str | None = None, datacenter: str = "DC0") -> Machine:
        with connect(self.access(datacenter=datacenter)) as source:
            return source.describe(vm, folder)

    def fails(self, vm: str, folder: str | None = None, datacenter: str = "DC0") -> StepError:
        with pytest.raises(StepError) as caught:
            self(vm, folder, datacenter)
        return caught.value


@pytest.mark.parametrize("folder", [None, "prod/web", "/prod/web/", "/DC0/vm/prod/web"])
def test_a_vm_is_found_by_folder_and_name(find: Find, folder: str | None) -> None:
    assert find("hardware", folder).path == "/DC0/vm/prod/web/hardware"


@pytest.mark.parametrize(
    ("folder", "path"), [("", "/DC0/vm/twin"), ("/", "/DC0/vm/twin"), ("b/c", "/DC0/vm/b/c/twin")]
)
def test_a_folder_distinguishes_vms_of_one_name(find: Find, folder: str, path: str) -> None:
    assert find("twin", folder).path == path


def test_an_ambiguous_name_is_refused(find: Find) -> None:
    error = find.fails("twin")
    assert error.code is Exit.AMBIGUOUS
    for word in ("/DC0/vm/twin", "/DC0/vm/a/twin", "/DC0/vm/b/c/twin", "set spec.folder"):
        assert word in str(error)


def test_a_vm_is_found_by_id(find: Find, vcenter: Simulator) -> None:
    moid = vcenter.vm("hardware")["moid"]
    for name in (moid, "50111111-2222-4333-8444-555555555555", "11111111-2222-4333-8444-555555555555"):
        assert find(name).source_id == moid
    assert find("50111111-2222-4333-8444-555555555555".upper(), "no/such/folder").source_id == moid


@pytest.mark.parametrize("vm", ["with/slash", "with%2fslash", "100%", "100%25"])
def test_names_with_escaped_characters_are_found(find: Find, vm: str) -> None:
    machine = find(vm)
    assert machine.name in {"with/slash", "100%"}
    assert machine.path in {"/DC0/vm/with%2fslash", "/DC0/vm/100%25"}


@pytest.mark.parametrize(
    "path", ["/DC0/vm/prod/web/hardware", "/DC0/vm/with%2fslash", "/DC0/vm/100%25", "/DC0/vm/b/c/twin"]
)
def test_a_vm_is_found_by_the_path_that_the_inventory_shows(find: Find, path: str) -> None:
    assert find(*inventory_path.split(path, None)).path == path


def test_a_path_in_another_datacenter_is_refused_with_the_reason(find: Find) -> None:
    error = find.fails(*inventory_path.split("/emea/DC1/vm/elsewhere", None))
    assert error.code is Exit.NOT_FOUND
    assert "the folder /emea/DC1/vm, because the datacenter of the source is /DC0" in str(error)


@pytest.mark.parametrize(
    ("vm", "folder", "words"),
    [
        ("hardwear", None, "hardware"),
        ("case", None, "Case"),
        ("hardware", "prod", "/DC0/vm/prod/web/hardware"),
        ("quite something else", None, "none of its"),
        ("vm-99999", None, "/DC0/vm"),
        ("elsewhere", None, "/DC0/vm"),
    ],
)
def test_an_unknown_vm_is_refused_with_a_suggestion(
    find: Find, vm: str, folder: str | None, words: str
) -> None:
    error = find.fails(vm, folder)
    assert error.code is Exit.NOT_FOUND
    assert words in str(error)


@pytest.mark.parametrize("datacenter", ["DC1", "emea/DC1", "/emea/DC1/"])
def test_a_datacenter_is_found_by_name_and_path(find: Find, datacenter: str) -> None:
    assert find("elsewhere", datacenter=datacenter).path == "/emea/DC1/vm/elsewhere"


@pytest.mark.parametrize(
    ("datacenter", "code"), [("DC2", Exit.NOT_FOUND), ("apac/DC1", Exit.NOT_FOUND), ("", Exit.AMBIGUOUS)]
)
def test_unknown_and_missing_datacenters_are_refused(find: Find, datacenter: str, code: Exit) -> None:
    error = find.fails("elsewhere", datacenter=datacenter)
    assert error.code is code
    assert "/DC0, /emea/DC1" in str(error)
    assert "spec.dc" in str(error)


def test_the_only_datacenter_needs_no_name(start_simulator: StartSimulator, access: MakeAccess) -> None:
    only = start_simulator({"datacenters": [{"vms": [{"name": "a"}]}]})
    asked = access(endpoint=only.url, keys={"caCert": only.ca.read_text()}, datacenter="")
    with connect(asked) as source:
        assert source.describe("a", None).path == "/DC0/vm/a"


@pytest.mark.parametrize("datacenter", ["", "ha-datacenter", "whatever"])
def test_a_stand_alone_host_accepts_any_datacenter(
    start_simulator: StartSimulator, access: MakeAccess, datacenter: str
) -> None:
    host = start_simulator({"kind": "esxi", "datacenters": [{"vms": [{"name": "a", "disks": [{}]}]}]})
    with connect(make_access(host, access().state_folder.parent / "esxi", datacenter=datacenter)) as source:
        source.verify()
        assert source.describe("a", "").path == "/ha-datacenter/vm/a"
        assert source.networks() == {"VM Network"}


def test_templates_are_refused(find: Find, vcenter: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    get = collector.Row.get
    monkeypatch.setattr(
        collector.Row,
        "get",
        lambda row, path, *default: path == "config.template" or get(row, path, *default),
    )
    error = find.fails("plain")
    assert error.code is Exit.UNSUPPORTED
    assert "template" in str(error)


def test_templates_are_blocked_in_an_inventory(access: MakeAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    get = collector.Row.get
    monkeypatch.setattr(
        collector.Row,
        "get",
        lambda row, path, *default: path == "config.template" or get(row, path, *default),
    )
    with connect(access()) as source:
        (found,) = (machine for machine in source.inventory().machines if machine.name == "plain")
    assert [concern.code for concern in found.concerns] == ["template"]


def test_pages_are_joined(access: MakeAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(access(datacenter="")) as source:
        whole = source.inventory()
    monkeypatch.setattr(collector, "PAGE", 2)
    with connect(access(datacenter="")) as source:
        assert source.inventory() == whole


def test_the_number_of_calls_does_not_grow_with_the_inventory(vcenter: Simulator, access: MakeAccess) -> None:
    with connect(access()) as source:
        source.describe("plain", None)
    assert len(vcenter.calls()) <= 20


def test_the_inventory_has_paths_and_networks(access: MakeAccess) -> None:
    with connect(access()) as source:
        found = source.inventory()
    paths = [machine.path for machine in found.machines]
    assert paths == sorted(paths)
    assert {"/DC0/vm/with%2fslash", "/DC0/vm/prod/web/hardware"} <= set(paths)
    assert set(found.networks) == {"VM Network", "prod-pg"}
    assert found.folders == ("a", "b", "b/c", "empty", "prod", "prod/web")


def test_the_inventory_includes_all_datacenters(access: MakeAccess) -> None:
    with connect(access(datacenter="")) as source:
        found = source.inventory()
    assert {"/DC0/vm/plain", "/emea/DC1/vm/elsewhere"} <= {machine.path for machine in found.machines}
    assert set(found.networks) == {"VM Network", "prod-pg", "other"}
    assert "/DC0/vm/prod/web" in found.folders


class TestAnyDatacenter:
    """As for imports of `v2v.kubevirt.io`, which name no datacenter."""

    INVENTORY: Final = {
        "datacenters": [
            {"name": "DC0", "vms": [{"name": "one"}, {"name": "both"}]},
            {"name": "DC1", "vms": [{"name": "two", "folder": "prod"}, {"name": "both"}]},
        ]
    }

    @pytest.fixture
    def describe(self, start_simulator: StartSimulator, tmp_path: Path) -> Callable[[str], Machine]:
        simulator = start_simulator(self.INVENTORY)

        def described(vm: str) -> Machine:
            access = make_access(simulator, tmp_path, datacenter="", any_datacenter=True)
            name, folder = inventory_path.split(vm, None)
            with connect(access) as source:
                source.verify()
                machine = source.describe(name, folder)
                assert source.networks() is not None
                return machine

        return described

    @pytest.mark.parametrize(
        ("vm", "path"),
        [
            ("one", "/DC0/vm/one"),
            ("two", "/DC1/vm/prod/two"),
            ("/DC1/vm/both", "/DC1/vm/both"),
            ("/DC1/vm/prod/two", "/DC1/vm/prod/two"),
        ],
    )
    def test_a_vm_is_found_in_its_datacenter(
        self, describe: Callable[[str], Machine], vm: str, path: str
    ) -> None:
        assert describe(vm).path == path

    def test_a_name_in_two_datacenters_is_refused(self, describe: Callable[[str], Machine]) -> None:
        with pytest.raises(StepError, match="'both' fits 2 machines") as caught:
            describe("both")
        assert caught.value.code is Exit.AMBIGUOUS

    def test_an_unknown_name_is_refused(self, describe: Callable[[str], Machine]) -> None:
        with pytest.raises(StepError, match="there is no VM 'three'") as caught:
            describe("three")
        assert caught.value.code is Exit.NOT_FOUND
