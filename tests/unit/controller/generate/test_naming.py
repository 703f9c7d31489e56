from __future__ import annotations

import random
from typing import Any

import pytest

from controller.generate.naming import Choice, choices, chosen, identity
from steps.model.machine import Machine
from tests.unit.builders import a_cloud, a_machine, a_source, an_archive
from workflows.api.sources import Source, VmwareSource


def vm(path: str, source_id: str = "vm-1", **more: Any) -> Machine:
    return a_machine(name=path.rpartition("/")[2], path=path, source_id=source_id, **more)


def server(name: str, source_id: str) -> Machine:
    return a_machine(name=name, path=name, source_id=source_id)


def names(found: list[Choice]) -> list[str]:
    return [choice.name for choice in found]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/DC0/vm/web01", "/"),
        ("/DC0/vm/prod/web01", "prod"),
        ("/DC0/vm/prod/vms/web01", "prod/vms"),
        ("/vmware/vm/prod/web01", "prod"),
        ("/vms/DC0/vm/prod/web01", "prod"),
        ("/DC0/vm/prod/vm/web01", "/DC0/vm/prod/vm"),
        ("/vm/DC0/vm/web01", "/vm/DC0/vm"),
    ],
)
def test_the_folder_of_a_vm_is_relative_to_its_datacenter(path: str, wanted: str) -> None:
    assert chosen(vm(path), a_source(), "web01").folder == wanted


@pytest.mark.parametrize("source", [a_cloud(), an_archive()])
def test_only_vmware_has_folders(source: Source) -> None:
    assert chosen(a_machine(), source, "web01").folder is None


def test_one_name_in_two_folders_gets_the_ids_as_suffix() -> None:
    machines = [vm("/DC0/vm/a/web", "vm-7"), vm("/DC0/vm/b/web", "vm-8"), vm("/DC0/vm/db", "vm-9")]
    found = choices(machines, a_source(), {}, ())
    assert names(found) == ["web-vm-7", "web-vm-8", "db"]
    assert [(choice.vm, choice.folder) for choice in found] == [("web", "a"), ("web", "b"), ("db", "/")]


def test_names_that_would_become_equal_get_a_suffix() -> None:
    machines = [server("Web 1", "11112222-aaaa"), server("web-1", "33334444-bbbb")]
    found = choices(machines, a_cloud(), {}, ())
    assert names(found) == ["web-1-11112222", "web-1-33334444"]
    assert [choice.vm for choice in found] == ["Web 1", "web-1"]


def test_servers_with_the_same_name_are_identified_by_uuid() -> None:
    machines = [server("web", "11112222-aaaa"), server("web", "33334444-bbbb")]
    assert [choice.vm for choice in choices(machines, a_cloud(), {}, ())] == [
        "11112222-aaaa",
        "33334444-bbbb",
    ]


def test_names_do_not_depend_on_the_order() -> None:
    machines = [server("web", f"{number % 3}aaaaaaa-bbbb-{number:04}") for number in range(20)]
    machines += [
        server("web-0aaaaaaa", "bbbbbbbb-1"),
        server("x" * 80, "cccccccc-1"),
        server("X" * 80, "c-2"),
    ]
    wanted = {choice.machine.source_id: choice.name for choice in choices(machines, a_cloud(), {}, ())}
    assert len(set(wanted.values())) == len(machines)
    assert all(len(name) <= 63 for name in wanted.values())
    random.Random(5).shuffle(machines)
    assert wanted == {one.machine.source_id: one.name for one in choices(machines, a_cloud(), {}, ())}


def test_an_assigned_name_stays() -> None:
    first, second = vm("/DC0/vm/b/web", "vm-8"), vm("/DC0/vm/a/web", "vm-7")
    before = {identity(first, a_source()): "web"}
    assert names(choices([second, first], a_source(), before, ())) == ["web-vm-7", "web"]


def test_a_name_in_use_is_not_assigned() -> None:
    assert names(choices([vm("/DC0/vm/web", "vm-7")], a_source(), {}, {"web"})) == ["web-vm-7"]


def test_a_source_without_a_datacenter_becomes_one_per_datacenter() -> None:
    machines = [vm("/DC0/vm/web", "vm-1"), vm("/east/DC1/vm/web", "vm-2")]
    found = choices(machines, a_source(dc=""), {}, ())
    made = [choice.source for choice in found]
    assert all(isinstance(source, VmwareSource) for source in made)
    assert [
        (source.metadata.name, source.spec.dc) for source in made if isinstance(source, VmwareSource)
    ] == [
        ("vc-dc0", "DC0"),
        ("vc-east-dc1", "east/DC1"),
    ]
    assert [choice.vm for choice in found] == ["web", "web"]


def test_datacenters_with_similar_names_stay_different() -> None:
    machines = [vm("/DC 0/vm/web", "vm-1"), vm("/DC-0/vm/db", "vm-2")]
    made = {choice.source.metadata.name for choice in choices(machines, a_source(dc=""), {}, ())}
    assert len(made) == 2


def test_one_datacenter_does_not_change_the_source() -> None:
    (found,) = choices([vm("/DC0/vm/web")], a_source(dc=""), {}, ())
    assert found.source == a_source(dc="")


def test_the_only_vm_of_an_archive_may_have_any_name() -> None:
    (only,) = choices([a_machine(name="Web 1")], an_archive(), {}, ())
    assert (only.name, only.vm) == ("web-1", "web-1")
    both = [a_machine(name="Web 1", source_id="a"), a_machine(name="db", source_id="b")]
    assert [choice.vm for choice in choices(both, an_archive(), {}, ())] == ["Web 1", "db"]


def test_a_server_requested_by_uuid_is_imported_by_uuid() -> None:
    found = chosen(server("Web 1", "11112222-aaaa"), a_cloud(), "11112222-aaaa")
    assert (found.name, found.vm) == ("web-1", "11112222-aaaa")
