"""The contract suite for packages of three products, by four packers, on this host and behind HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.model.machine import Power
from steps.model.plan import PowerPlan
from steps.providers import connect
from tests.provider_contract import Given, ProviderContract
from tests.tls import SelfSigned
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess
from tests.unit.steps.providers.ova.make import Flavour, Packer, build_files, build_ova
from tests.unit.steps.providers.ova.site import Page, Site


class Suite(ProviderContract):
    """The tests of running VMs differ here: a package is always off."""

    def test_a_running_vm_is_not_exported(self, given: Given, tmp_path: Path) -> None:
        """No VM of a package ever runs, whatever is requested."""
        machine = self.described(given)
        assert machine.power is Power.OFF
        with connect(given.access("poweroff")) as source:
            source.power_off(machine, PowerPlan(force=True))

    def test_the_vm_is_shut_down_once_and_its_disks_are_exported(self, given: Given, tmp_path: Path) -> None:
        """Nothing is shut down; the disks are exported."""
        machine = self.described(given)
        for disk, original in zip(machine.disks, given.originals, strict=True):
            self.export(given, machine, disk.id, tmp_path, original)

    def test_a_start_is_noticed_also_when_the_vm_is_off_again(self, given: Given) -> None:
        """No VM of a package is ever started: what counts is that the package is the same."""
        machine = self.shut_down(given)
        with connect(given.access("poweroff")) as source:
            mark = source.power_mark(machine)
            source.power_on(machine)
            assert not source.is_on(machine)
        with connect(given.access("unchanged")) as source:
            assert source.was_started_since(machine, mark) is None
            other = mark.model_copy(update={"position": "another package"})
            assert "replaced" in str(source.was_started_since(machine, other))

    def test_our_own_shutdown_is_known_until_somebody_starts_the_vm(self, given: Given) -> None:
        """Nothing is ever shut down."""
        machine = self.shut_down(given)
        assert machine.mark is not None
        with connect(given.access("release-source")) as source:
            assert not source.was_shut_down_since(machine, machine.mark)

    def test_an_unknown_vm_is_not_found(self, given: Given) -> None:
        """A single VM matches any name; test_describe.py looks for an unknown one in a collection."""
        with connect(given.access("preflight")) as source:
            assert source.describe("any-name", None).name == "any-name"


def given(access: MakeAccess, endpoint: object, raws: list[Path], **more: object) -> Given:
    return Given(
        access=lambda step: access(endpoint, step, **more),
        vm="web",
        folder=None,
        originals=tuple(raws),
        held=lambda: 0,
        stops=lambda: 0,
    )


@pytest.mark.parametrize(
    ("flavour", "packer", "tables_last"),
    [
        ("vmware", "ustar", False),
        ("vmware", "gnu", True),
        ("vmware", "tar", True),
        ("virtualbox", "pax", False),
        ("qemu", "tar", False),
    ],
)
class TestLocal(Suite):
    @pytest.fixture
    def given(
        self,
        tmp_path: Path,
        raws: list[Path],
        access: MakeAccess,
        flavour: Flavour,
        packer: Packer,
        tables_last: bool,
    ) -> Given:
        path = build_ova(tmp_path / "m.ova", raws, flavour, packer=packer, tables_last=tables_last)
        return given(access, path, raws)


class TestFolder(Suite):
    @pytest.fixture
    def given(self, tmp_path: Path, raws: list[Path], access: MakeAccess) -> Given:
        folder = tmp_path / "package"
        build_files(raws, "virtualbox", manifest="sha1", tables_last=False).write(folder)
        return given(access, folder, raws)


@pytest.mark.parametrize("ranges", [True, False], ids=["range", "no-range"])
class TestServer(Suite):
    @pytest.fixture
    def given(
        self, tmp_path: Path, raws: list[Path], access: MakeAccess, ranges: bool, tls: SelfSigned
    ) -> Iterator[Given]:
        body = build_ova(tmp_path / "m.ova", raws, "virtualbox", tables_last=False).read_bytes()
        page = Page(Behaviour(body, ranges=ranges), login="alice:s:cret")
        with Site({"/m.ova": page}, tls.server()) as site:
            secret = {"username": "alice", "password": "s:cret", "ca_crt": tls.pem}
            yield given(access, site.base + "/m.ova", raws, **secret)
