"""Servers: redirects, logins, their answers; how many requests they get."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from steps.disk.landed import LandingFiles
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Severity
from steps.model.plan import DiskFormat
from steps.providers import connect
from steps.providers.ova.source_file import HttpSettings
from steps.runtime.guard import REDIRECT_HOSTS
from tests.forwardproxy import Forward, forward
from tests.provider_contract import ignore
from tests.tls import SelfSigned
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import build_files, build_ova
from tests.unit.steps.providers.ova.site import Busy, Page, Site

__all__ = ["forward"]

ALICE = {"username": "alice", "password": "secret"}


@pytest.fixture
def body(tmp_path: Path, raws: list[Path]) -> bytes:
    return build_ova(tmp_path / "m.ova", raws).read_bytes()


def describe(access: MakeAccess, url: str, **more: object) -> None:
    with connect(access(url, **more)) as source:
        source.verify()
        source.describe("web", None)


def test_redirects_are_followed_without_the_login(access: MakeAccess, body: bytes) -> None:
    with Site({"/m.ova": Page(Behaviour(body))}) as mirror:
        pages = {"/latest": "/v1/m.ova", "/v1/m.ova": mirror.base + "/m.ova"}
        with Site(pages) as home:
            describe(access, home.base + "/latest", **ALICE)
            assert {asked.login is not None for asked in home.asked} == {True}
        assert mirror.asked
        assert {asked.login for asked in mirror.asked} == {None}


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/My Files/web.ova", "/My%20Files/web.ova"),
        ("My Files/my web.ova?name=a b", "/My%20Files/my%20web.ova?name=a%20b"),
        ("/M\u00f6bel/web.ova".encode().decode("latin-1"), "/M%C3%B6bel/web.ova"),
    ],
)
def test_a_redirect_with_a_blank_or_an_umlaut_is_followed(
    access: MakeAccess, body: bytes, location: str, asked: str
) -> None:
    with Site({"/latest": location, asked: Page(Behaviour(body))}) as site:
        describe(access, site.base + "/latest")


def elsewhere(site: Site, path: str) -> str:
    """The URL of a page under another name of the same server: another host, for who follows a redirect."""
    return site.base.replace("localhost", "127.0.0.1") + path


def test_a_redirect_to_another_host_is_refused_before_it_is_requested(
    access: MakeAccess, body: bytes, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Site({"/m.ova": Page(Behaviour(body))}) as mirror:
        with Site({"/latest": elsewhere(mirror, "/m.ova")}) as home:
            url = home.base + "/latest"
            describe(access, url)  # without a restriction, as on somebody's computer
            mirror.asked.clear()
            monkeypatch.setenv(REDIRECT_HOSTS, "")
            error = refused(lambda: describe(access, url))
        assert error.code is Exit.INVALID
        assert f"{url} redirects to the host '127.0.0.1'" in str(error)
        assert "spec.redirectHosts" in str(error)
        assert mirror.asked == []


@pytest.mark.parametrize(
    ("installation", "source"), [("127.0.0.1", ()), ("", ("127.0.0.1",)), ("cdn.example.com", ("*",))]
)
def test_a_redirect_to_an_allowed_host_is_followed_without_the_login(
    access: MakeAccess,
    body: bytes,
    raws: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installation: str,
    source: tuple[str, ...],
) -> None:
    """As with an object store that makes a presigned URL for each request."""
    monkeypatch.setenv(REDIRECT_HOSTS, installation)
    with Site({"/m.ova?X-Amz-Signature=abc": Page(Behaviour(body))}) as store:
        pages = {"/m.ova": elsewhere(store, "/m.ova?X-Amz-Signature=abc")}
        with (
            Site(pages) as home,
            connect(access(home.base + "/m.ova", redirect_hosts=source, **ALICE)) as opened,
        ):
            machine = opened.describe("web", None)
            landed = opened.export(machine, machine.disks[0], tmp_path / "d.raw", DiskFormat.RAW, ignore)
            assert landed.path.read_bytes() == raws[0].read_bytes()
            assert {asked.login is not None for asked in home.asked} == {True}
        assert {asked.login for asked in store.asked} == {None}


def test_a_disk_of_a_package_is_not_read_from_another_host(
    access: MakeAccess, raws: list[Path], tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a package could make a disk of any answer in the network of the import (finding F3)."""
    monkeypatch.setenv(REDIRECT_HOSTS, "")
    files = build_files(raws, name="m").contents
    with Site({"/internal": Page(Behaviour(b"INTERNAL-ANSWER"))}) as internal:
        pages: dict[str, Page | str | int] = {
            f"/{name}": Page(Behaviour(content)) for name, content in files.items()
        }
        (disk,) = (name for name in pages if name.endswith("disk1.vmdk"))
        pages[disk] = elsewhere(internal, "/internal")
        with Site(pages) as site:
            url = site.base + "/m.ovf"

            def land() -> None:
                with connect(access(url)) as source:
                    machine = source.describe("web", None)
                    source.export(machine, machine.disks[0], tmp_path / "d.raw", DiskFormat.RAW, ignore)

            assert refused(land).code is Exit.INVALID
        assert internal.asked == []
    assert not (tmp_path / "d.raw").exists()


@pytest.mark.parametrize(
    ("home", "url", "given"),
    [
        ("http://host/m.ova", "http://HOST:80/other", True),
        ("http://host/m.ova", "https://host/m.ova", True),
        ("http://host/m.ova", "http://host:8080/m.ova", False),
        ("http://host:81/m.ova", "https://host/m.ova", False),
        ("https://host/m.ova", "http://host/m.ova", False),
        ("https://host/m.ova", "https://host.example.com/m.ova", False),
    ],
)
def test_the_login_is_sent_only_to_its_own_host(home: str, url: str, given: bool) -> None:
    assert bool(HttpSettings(login="x", source_url=home).headers(url)) is given


def test_a_redirect_from_https_to_http_is_refused(
    access: MakeAccess, body: bytes, tls: SelfSigned, refused: Refused
) -> None:
    with (
        Site({"/m.ova": Page(Behaviour(body))}) as plain,
        Site({"/m.ova": plain.base + "/m.ova", "/f": "file:///etc/passwd"}, tls.server()) as home,
    ):
        for path in ("/m.ova", "/f"):
            url = home.base + path
            error = refused(lambda: describe(access, url, ca_crt=tls.pem))  # noqa: B023
            assert error.code is Exit.INVALID
        assert not plain.asked


def test_a_redirect_loop_is_refused(access: MakeAccess, refused: Refused) -> None:
    with Site({"/m.ova": "/m.ova"}) as site:
        assert "redirects too often" in str(refused(lambda: describe(access, site.base + "/m.ova")))
        assert len(site.asked) == 10


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((status, Exit.DENIED) for status in (401, 403)),
        *((status, Exit.NOT_FOUND) for status in (404, 410)),
        *((status, Exit.UNREACHABLE) for status in (429, 500, 503)),
        (405, Exit.INVALID),
    ],
)
def test_http_statuses_have_exit_codes(access: MakeAccess, refused: Refused, status: int, code: Exit) -> None:
    with Site({"/m.ova": status}) as site:
        error = refused(lambda: describe(access, site.base + "/m.ova"))
    assert (error.code, str(status) in str(error)) == (code, True)


def test_a_wrong_password_and_an_unknown_certificate_are_refused(
    access: MakeAccess, body: bytes, tls: SelfSigned, refused: Refused
) -> None:
    with Site({"/m.ova": Page(Behaviour(body), login="alice:secret")}, tls.server()) as site:
        url = site.base + "/m.ova"
        assert refused(lambda: describe(access, url)).code is Exit.UNTRUSTED
        denied = refused(lambda: describe(access, url, ca_crt=tls.pem, **(ALICE | {"password": "x"})))
        assert (denied.code, "password in the source's secret" in str(denied)) == (Exit.DENIED, True)
        describe(access, url, ca_crt=tls.pem, **ALICE)
        describe(access, url, insecure_skip_tls_verify=True, ca_crt="")


def test_a_closed_port_is_unreachable(access: MakeAccess, refused: Refused) -> None:
    with Site({}) as site:
        url = site.base + "/m.ova"
    assert refused(lambda: describe(access, url)).code is Exit.UNREACHABLE


@pytest.mark.parametrize("content_range", ["bytes 7-9/10", "nonsense", ""])
def test_a_wrong_content_range_is_detected(
    access: MakeAccess, refused: Refused, body: bytes, content_range: str
) -> None:
    with Site({"/m.ova": Page(Behaviour(body, content_range=content_range))}) as site:
        assert refused(lambda: describe(access, site.base + "/m.ova")).code is Exit.BROKEN_STREAM


@pytest.mark.parametrize("how", [{"chunked": True, "ranges": False}, {"length": False, "ranges": False}])
def test_a_server_without_content_length_is_read(
    access: MakeAccess, body: bytes, raws: list[Path], tmp_path: Path, how: Any
) -> None:
    with (
        Site({"/m.ova": Page(Behaviour(body, **how))}) as site,
        connect(access(site.base + "/m.ova")) as source,
    ):
        machine = source.describe("web", None)
        for disk, raw in zip(machine.disks, raws, strict=True):
            out = tmp_path / f"{disk.id}.raw"
            source.export(machine, disk, out, DiskFormat.RAW, ignore)
            assert out.read_bytes() == raw.read_bytes()


def sent(how: Behaviour) -> int:
    """Bytes requested by Range."""
    windows = [re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "") for asked in how.asked]
    assert all(windows), how.asked
    return sum(int(window[2]) - int(window[1]) + 1 for window in windows if window)


def test_a_description_reads_only_headers(
    access: MakeAccess, body: bytes, tmp_path: Path, raws: list[Path]
) -> None:
    how = Behaviour(body)
    with Site({"/m.ova": Page(how)}) as site:
        describe(access, site.base + "/m.ova")
        assert sent(how) < 6 * 65536 < len(body) / 2
        how.asked.clear()
        with connect(access(site.base + "/m.ova")) as source:
            machine = source.describe("web", None)
            how.asked.clear()
            landed = source.export(machine, machine.disks[1], tmp_path / "d.raw", DiskFormat.RAW, ignore)
            assert sent(how) == landed.source_bytes  # the first bytes came with the last header of the tar


def test_without_range_a_description_ends_before_the_disks(
    access: MakeAccess, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.ova.tar.MAX_SKIP_BYTES", 100_000)
    how = Behaviour(body, ranges=False)
    with Site({"/m.ova": Page(how)}) as site, connect(access(site.base + "/m.ova")) as source:
        machine = source.describe("web", None)
        assert len(how.asked) == 1  # the bytes that were read ahead were enough: there was no other request
        assert "manifest-missing" not in {each.code for each in machine.concerns}


def test_a_connection_that_breaks_repeatedly_is_resumed(
    access: MakeAccess, body: bytes, raws: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", (0.0, 0.0))
    how = Behaviour(body)
    with Site({"/m.ova": Page(how)}) as site, connect(access(site.base + "/m.ova")) as source:
        machine = source.describe("web", None)
        how.cuts = [300_000, 17, 200_001, 0, 262_144]
        landed = source.export(machine, machine.disks[0], tmp_path / "d.raw", DiskFormat.RAW, ignore)
        assert not how.cuts
    assert landed.path.read_bytes() == raws[0].read_bytes()


def raw_ova(path: Path, disk: Path, manifest: str) -> bytes:
    """An archive with a raw disk: unlike with a VMDK, any bytes are valid content."""
    files = build_files([disk], manifest=None)
    (name, text), (image, packed) = files.contents.items()
    made = text.decode().replace(image, "disk.raw").replace(f'ovf:size="{len(packed)}"', "")
    made = re.sub(r'(ovf:fileRef="file1" ovf:format=)"[^"]*"', r'\1"http://en.wikipedia.org/wiki/Byte"', made)
    files.contents = {name: made.encode(), "disk.raw": disk.read_bytes()}
    if manifest:
        files.with_manifest("m.mf", manifest, last=False)
    files.pack(path, "ustar")
    return path.read_bytes()


@pytest.mark.parametrize("manifest", ["", "sha256"])
@pytest.mark.parametrize("is_replaced", [False, True], ids=["same", "replaced"])
@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', ""])
def test_an_archive_without_range_is_read_again_and_compared(
    access: MakeAccess, raws: list[Path], tmp_path: Path, manifest: str, etag: str, *, is_replaced: bool
) -> None:
    """The transfer broke in the middle of a raw disk, and any bytes would be accepted as the rest.

    The archive may meanwhile be another one of the same size, and the server may not tell.
    """
    other = tmp_path / "other.raw"
    other.write_bytes(raws[0].read_bytes().translate(bytes(range(255, -1, -1))))
    bodies = [raw_ova(tmp_path / f"{disk.name}.ova", disk, manifest) for disk in (raws[0], other)]
    assert len(bodies[0]) == len(bodies[1])
    how, out = Behaviour(bodies[0], ranges=False, etag=etag), tmp_path / "disk.raw"
    with Site({"/m.ova": Page(how)}) as site:
        url = site.base + "/m.ova"
        with connect(access(url)) as source:
            machine = source.describe("web", None)
            assert "no-range" in {each.code for each in machine.concerns}
            middle = len(bodies[0]) - raws[0].stat().st_size // 2
            # If no manifest comes first, the archive is read once to its end, to look for one there.
            how.cuts = [1 << 40, middle, middle]
            with pytest.raises(StepError, match="reads from the start and compares") as caught:
                source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
            assert caught.value.code is Exit.BROKEN_STREAM
        assert LandingFiles(out).partial.exists()
        how.cuts, how.body = [], bodies[is_replaced]
        with connect(access(url)) as source:
            landed = source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
    assert landed.path.read_bytes() == (other if is_replaced else raws[0]).read_bytes()


def test_a_folder_behind_a_server_is_read(
    access: MakeAccess, raws: list[Path], tmp_path: Path, refused: Refused
) -> None:
    files = build_files(raws, name="my vm").contents
    pages = {f"/a/{name.replace(' ', '%20')}": Page(Behaviour(content)) for name, content in files.items()}
    with Site(pages) as site, connect(access(site.base + "/a/my%20vm.ovf")) as source:
        machine = source.describe("web", None)
        assert not machine.concerns
        for disk, raw in zip(machine.disks, raws, strict=True):
            out = tmp_path / f"{disk.id}.raw"
            source.export(machine, disk, out, DiskFormat.RAW, ignore)
            assert out.read_bytes() == raw.read_bytes()
        del pages["/a/my%20vm-disk1.vmdk"]
    with Site(pages) as site, connect(access(site.base + "/a/my%20vm.ovf")) as source:
        machine = source.describe("web", None)
        assert "file-missing" in {each.code for each in machine.concerns}
        error = refused(
            lambda: source.export(machine, machine.disks[0], tmp_path / "x", DiskFormat.RAW, ignore)
        )
        assert error.code is Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"etag": '"2"'}),
        ({"etag": 'W/"1"'}, {"etag": 'W/"2"'}),
        (
            {"etag": "", "modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
            {"modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        ),
        ({"etag": ""}, {"body": b"longer"}),
    ],
    ids=["etag", "weak", "modified", "length"],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_replaced_during_the_transfer_is_detected(
    access: MakeAccess,
    raws: list[Path],
    tmp_path: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    ranges: bool,
) -> None:
    """The disk's position is that in the old one: any bytes of the new one would pass as a raw disk."""
    body = raw_ova(tmp_path / "m.ova", raws[0], "")
    how, out = Behaviour(body, ranges=ranges, **before), tmp_path / "disk.raw"
    with Site({"/m.ova": Page(how)}) as site, connect(access(site.base + "/m.ova")) as source:
        machine = source.describe("web", None)
        for name, value in {"body": b"", **after}.items():
            setattr(how, name, bytes(512) + body[:-512] + value if name == "body" else value)
        with pytest.raises(StepError, match="has changed while it was read") as caught:
            source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
        assert caught.value.code is Exit.BROKEN_STREAM
        assert not out.exists()


def test_a_local_archive_replaced_while_it_is_read_is_detected(
    access: MakeAccess, raws: list[Path], tmp_path: Path
) -> None:
    body = raw_ova(tmp_path / "m.ova", raws[0], "")
    with connect(access(tmp_path / "m.ova")) as source:
        machine = source.describe("web", None)
        (tmp_path / "m.ova").write_bytes(bytes(512) + body)
        with pytest.raises(StepError, match="has changed while it was read"):
            source.export(machine, machine.disks[0], tmp_path / "disk.raw", DiskFormat.RAW, ignore)


def test_a_disk_of_a_replaced_package_is_read_again(
    access: MakeAccess, body: bytes, raws: list[Path], tmp_path: Path, refused: Refused
) -> None:
    """Another archive at the same URL: its disk is not confused with that of the first one."""
    pages = {"/m.ova": Page(Behaviour(body))}
    with Site(pages) as site:
        url, out = site.base + "/m.ova", tmp_path / "d.raw"
        with connect(access(url)) as source:
            machine = source.describe("web", None)
            source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
        other = bytearray(raws[0].read_bytes())
        other[:512] = b"other" + bytes(507)
        raws[0].write_bytes(other)
        pages["/m.ova"] = Page(Behaviour(build_ova(tmp_path / "n.ova", raws).read_bytes(), etag='"2"'))
        with connect(access(url)) as source:
            source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
            assert out.read_bytes() == bytes(other)
        pages["/m.ova"] = Page(Behaviour(build_ova(tmp_path / "o.ova", raws[1:]).read_bytes(), etag='"3"'))
        with connect(access(url)) as source:
            error = refused(lambda: source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore))
        assert error.code is Exit.INVALID


def test_a_download_that_takes_too_long_is_stopped(access: MakeAccess, body: bytes, tmp_path: Path) -> None:
    how, out = Behaviour(body), tmp_path / "d.raw"
    with Site({"/m.ova": Page(how)}) as site:
        with connect(access(site.base + "/m.ova", download_seconds=1)) as source:
            machine = source.describe("web", None)
            how.hang_at = 100_000  # more than a check of the disk's size requests
            with pytest.raises(StepError, match="longer than 1 s") as caught:
                source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
        assert caught.value.code is Exit.UNREACHABLE
        assert not out.exists()
        assert LandingFiles(out).partial.exists()


def test_an_ova_is_read_through_the_proxy(
    access: MakeAccess,
    body: bytes,
    tmp_path: Path,
    raws: list[Path],
    forward: Forward,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "")
    with Site({"/m.ova": Page(Behaviour(body))}) as site, connect(access(site.base + "/m.ova")) as source:
        machine = source.describe("web", None)
        landed = source.export(machine, machine.disks[0], tmp_path / "d.raw", DiskFormat.RAW, ignore)
    assert landed.path.read_bytes() == raws[0].read_bytes()
    assert len(forward.asked) == len(site.asked)
    assert {asked.partition("/m.ova")[0] for asked in forward.asked} == {f"GET {site.base}"}


# --- a server that asks to wait


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_an_error_with_the_time_that_it_asks_for(
    access: MakeAccess, body: bytes, status: int
) -> None:
    page = Page(Behaviour(body))
    with Site({"/m.ova": Busy(page, "25", status=status)}) as site:
        with pytest.raises(NoAnswerError, match="it asks to wait 25 s") as caught:
            describe(access, site.base + "/m.ova")
        assert caught.value.retry_after == 25
        describe(access, site.base + "/m.ova")


def test_a_transfer_that_is_told_to_wait_ends_and_keeps_what_landed(
    access: MakeAccess, body: bytes, raws: list[Path], tmp_path: Path
) -> None:
    how, out = Behaviour(body), tmp_path / "d.raw"
    busy = Busy(Page(how), "25", status=503)
    with Site({"/m.ova": Page(how, after_cut=busy)}) as site, connect(access(site.base + "/m.ova")) as source:
        machine = source.describe("web", None)
        how.cuts = [300_000]
        with pytest.raises(NoAnswerError, match="it asks to wait 25 s") as caught:
            source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
        assert caught.value.retry_after == 25
        assert LandingFiles(out).partial.exists()
        source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore)
    assert out.read_bytes() == raws[0].read_bytes()


# --- files that a server refuses, and queries of URLs


def folder_pages(raws: list[Path], query: str = "", **more: Any) -> dict[str, Any]:
    files = build_files(raws[1:], **more).contents
    return {f"/a/{name}{query}": Page(Behaviour(content)) for name, content in files.items()}


def described(access: MakeAccess, url: str) -> Any:
    with connect(access(url)) as source:
        return source.describe("web", None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_manifest_that_the_server_refuses_counts_as_missing_with_a_warning(
    access: MakeAccess, raws: list[Path], status: int
) -> None:
    pages = folder_pages(raws, manifest=None) | dict.fromkeys(
        ("/a/web.mf", "/a/web.MF", "/a/web.cert"), status
    )
    with Site(pages) as site:
        machine = described(access, site.base + "/a/web.ovf")
        assert len([asked for asked in site.asked if asked.path == "/a/web.mf"]) == 1
    (concern,) = machine.concerns
    assert (concern.severity, concern.code) == (Severity.WARN, "manifest-refused")
    assert str(status) in concern.message


def test_a_disk_that_the_server_refuses_is_named(
    access: MakeAccess, raws: list[Path], refused: Refused
) -> None:
    with Site({**folder_pages(raws), "/a/web-disk1.vmdk": 403}) as site:
        error = refused(lambda: described(access, site.base + "/a/web.ovf"))
    assert error.code is Exit.DENIED
    assert "for web-disk1.vmdk next to" in str(error)


def test_a_descriptor_that_the_server_refuses_is_refused(access: MakeAccess, refused: Refused) -> None:
    with Site({"/a/web.ovf": 403}) as site:
        assert refused(lambda: described(access, site.base + "/a/web.ovf")).code is Exit.DENIED


def test_a_server_that_fails_at_the_manifest_is_no_server_without_one(
    access: MakeAccess, raws: list[Path]
) -> None:
    with Site({**folder_pages(raws), "/a/web.mf": 500}) as site, pytest.raises(StepError) as caught:
        described(access, site.base + "/a/web.ovf")
    assert caught.value.code is Exit.UNREACHABLE


@pytest.mark.parametrize("others", [403, 404])
def test_the_query_of_a_descriptor_is_used_for_the_files_next_to_it(
    access: MakeAccess, raws: list[Path], tmp_path: Path, others: int
) -> None:
    pages = folder_pages(raws, "?token=a%20b")
    bare = {path.partition("?")[0]: others for path in pages}
    with Site({**pages, **bare}) as site, connect(access(site.base + "/a/web.ovf?token=a b")) as source:
        machine = source.describe("web", None)
        assert not machine.concerns
        source.export(machine, machine.disks[0], tmp_path / "d.raw", DiskFormat.RAW, ignore)
    assert (tmp_path / "d.raw").read_bytes() == raws[1].read_bytes()


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_query_that_is_only_for_the_descriptor_is_left_out(
    access: MakeAccess, raws: list[Path], status: int
) -> None:
    """Such as the signature or the version of one object."""
    pages = folder_pages(raws)
    pages["/a/web.ovf?versionId=7"] = pages.pop("/a/web.ovf")
    signed = {f"{path}?versionId=7": status for path in pages if "?" not in path}
    with Site({**pages, **signed}) as site:
        assert not described(access, site.base + "/a/web.ovf?versionId=7").concerns


def test_files_next_to_a_redirected_descriptor_are_also_requested_where_it_was_named(
    access: MakeAccess, raws: list[Path]
) -> None:
    """A store signs the URL of each object: the signature of the descriptor opens no other one."""
    pages = folder_pages(raws)
    signed = {f"/store{path}?signature={number}": page for number, (path, page) in enumerate(pages.items())}
    redirects = {path.removeprefix("/store").partition("?")[0]: path for path in signed}
    bare = dict.fromkeys((path.partition("?")[0] for path in signed), 403)
    wrong = {f"{path}?signature=0": 403 for path in bare if "web.ovf" not in path}
    with Site({**signed, **redirects, **bare, **wrong}) as site:
        assert not described(access, site.base + "/a/web.ovf").concerns


def test_a_refusal_says_that_the_query_was_tried(
    access: MakeAccess, raws: list[Path], refused: Refused
) -> None:
    pages = folder_pages(raws, "?token=SECRET")
    pages |= {path.partition("?")[0]: 403 for path in pages} | {"/a/web-disk1.vmdk?token=SECRET": 403}
    with Site(pages) as site:
        error = refused(lambda: described(access, site.base + "/a/web.ovf?token=SECRET"))
    assert error.code is Exit.DENIED
    assert "with the query (?...)" in str(error)
    assert "web-disk1.vmdk" in str(error)
    assert "SECRET" not in str(error)
