from __future__ import annotations

from typing import Any

import pytest

from controller.generate.selected import jobs_of
from controller.manifests.environment import Environment
from controller.manifests.read import InvalidManifestsError, Manifests
from controller.manifests.resolve import Job
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from tests.unit.builders import a_cloud, a_machine, a_secret, a_source, an_archive
from workflows.api.sources import Source
from workflows.settings import Settings

MACHINES = (
    a_machine(name="web", path="/DC0/vm/a/web", source_id="vm-1"),
    a_machine(name="web", path="/DC0/vm/b/web", source_id="vm-2"),
    a_machine(name="Data Base", path="/DC0/vm/db", source_id="vm-3"),
)


def made(*patterns: str, machines: tuple[Machine, ...] = MACHINES, source: Source | None = None) -> list[Job]:
    given = Manifests(secrets={("default", name): a_secret(name) for name in ("vc-login", "os-login")})
    settings = Settings(local_files=True)
    return jobs_of(patterns, machines, source or a_source(), given, Environment(), settings, None)


def plans(found: list[Job]) -> list[tuple[Any, ...]]:
    return [(job.name, job.plan.vm, job.plan.folder, job.plan.target.vm_name) for job in found]


def test_each_vm_that_fits_becomes_an_import() -> None:
    assert plans(made("web", "vm-3")) == [
        ("web-vm-1", "web", "a", "web-vm-1"),
        ("web-vm-2", "web", "b", "web-vm-2"),
        ("data-base", "Data Base", "/", ""),
    ]
    assert [job.name for job in made("/DC0/vm/b/*")] == ["web-vm-2"]
    assert made("web")[0].credentials == {"username": b"u", "password": b"p"}


def test_the_name_of_an_import_does_not_depend_on_the_pattern() -> None:
    assert made("vm-1")[0].name == made("*")[0].name


def test_each_import_has_an_identity_of_its_own() -> None:
    uids = {job.plan.import_.uid for job in made("*")}
    assert len(uids) == 3
    assert all(uids)


@pytest.mark.parametrize(("source", "name"), [(a_cloud(), "server"), (an_archive(), "appliance")])
def test_other_sources_are_selected_too(source: Source, name: str) -> None:
    machine = a_machine(name=name, path=name, source_id="11111111-2222-4333-8444-555555555555")
    (job,) = made(f"{name[:3]}*", machines=(machine,), source=source)
    assert (job.plan.vm, job.plan.folder) == (name, None)


def test_vms_of_several_datacenters_are_found_in_their_own() -> None:
    machines = (
        a_machine(name="web", path="/DC0/vm/web", source_id="vm-1"),
        a_machine(name="web", path="/DC1/vm/web", source_id="vm-2"),
    )
    found = made("web", machines=machines, source=a_source(dc=""))
    assert [job.plan.source.datacenter for job in found] == ["DC0", "DC1"]


def test_a_pattern_that_fits_no_vm_is_refused_with_similar_names() -> None:
    with pytest.raises(StepError, match="there is no VM 'wbe': there are VMs called web") as caught:
        made("wbe", "vm-3")
    assert caught.value.code is Exit.NOT_FOUND


def test_missing_credentials_are_reported() -> None:
    with pytest.raises(InvalidManifestsError, match="Secret default/vc-login is not given"):
        jobs_of(["web"], MACHINES, a_source(), Manifests(), Environment(), Settings(local_files=True), None)
