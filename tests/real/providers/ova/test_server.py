"""Servers: redirects, logins, their answers; how many requests they get."""

from __future__ import annotations

from pathlib import Path

from steps.disk import qemu
from steps.model.plan import DiskFormat
from steps.providers import connect
from tests.provider_contract import ignore
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess
from tests.unit.steps.providers.ova.site import Page, Site
from tests.unit.steps.providers.ova.test_server import body

__all__ = ["body"]


def test_an_export_follows_the_current_redirects(
    access: MakeAccess, body: bytes, raws: list[Path], tmp_path: Path
) -> None:
    """A link with a key in it differs each time: the landed disk is the same."""
    out = tmp_path / "disk.qcow2"
    pages: dict[str, Page | str | int] = {}
    mirrored: dict[str, Page | str | int] = {}
    with Site(pages) as home, Site(mirrored) as mirror:
        for key in ("one", "two"):
            mirrored.clear()
            mirrored[f"/m.ova?key={key}"] = Page(Behaviour(body))
            pages["/latest"] = f"{mirror.base}/m.ova?key={key}"
            with connect(access(home.base + "/latest")) as source:
                machine = source.describe("web", None)
                landed = source.export(machine, machine.disks[0], out, DiskFormat.QCOW2, ignore)
            assert (landed.source_bytes == 0) == (key == "two")
    assert qemu.compare(raws[0], "raw", out, "qcow2")
