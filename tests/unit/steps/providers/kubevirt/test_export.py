"""Exports of disks: every way to the bytes, every end, and nothing left."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, NoAnswerError, StepError, Stopped
from steps.model.machine import Machine
from steps.providers import connect
from steps.providers.kubevirt import exports
from steps.runtime.stop import Stop
from tests.unit.steps.providers.kubevirt.conftest import BLOCK, MakeAccess, a_disk
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, NAMESPACE, SIZE, claim
from tests.unit.steps.providers.kubevirt.standin import Reply, StandIn
from tests.unit.steps.providers.kubevirt.test_provider import described, exported


@pytest.fixture
def machine(standin: StandIn, access: MakeAccess) -> Machine:
    standin.cluster.halt()
    return described(access)


def content(standin: StandIn, machine: Machine, number: int = 0) -> bytes:
    return standin.content[machine.disks[number].backing]


def test_zeros_are_not_written(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exported(access, machine, out)
    assert out.stat().st_size == SIZE
    assert out.stat().st_blocks * 512 <= 5 * BLOCK


def test_a_second_export_reads_nothing(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    for formats in (("raw", "gzip"), ("gzip",)):
        standin.cluster.formats = formats
        out = tmp_path / formats[0]
        exported(access, machine, out)
        standin.asked.clear()
        assert exported(access, machine, out).source_bytes == 0
        assert not any("/volumes/" in call for call in standin.asked)


def test_a_transfer_resumes_where_it_broke(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", ())
    monkeypatch.setattr("steps.disk.ranges.BLOCK", BLOCK * 4)
    monkeypatch.setattr("steps.providers.kubevirt.export.MOST_READERS", 1)
    reads = iter(range(10**6))

    def break_off(method: str, path: str) -> Reply | None:
        return Reply(503, b"") if "/volumes/" in path and next(reads) > 8 else None  # as virt-exportproxy

    standin.hook = break_off
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert isinstance(caught.value, NoAnswerError)  # the step waits for the source, and goes on
    assert standin.cluster.held() == 0
    standin.hook = lambda method, path: None
    landed = exported(access, machine, tmp_path / "out")
    assert landed.resumed_at > 0
    assert (tmp_path / "out").read_bytes() == content(standin, machine)


def test_a_disk_in_a_filesystem_gets_the_size_of_its_claim(
    standin: StandIn, access: MakeAccess, tmp_path: Path
) -> None:
    standin.cluster.put("persistentvolumeclaims", claim(CLAIMS[0], mode="Filesystem"))
    standin.content[CLAIMS[0]] = a_disk(7, size=SIZE - 3 * 512)
    standin.cluster.halt()
    machine = described(access)
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == standin.content[CLAIMS[0]] + bytes(3 * 512)
    assert "disk-in-filesystem" in {concern.code for concern in machine.concerns}


def test_a_disk_that_is_larger_than_its_claim_is_refused(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.content[CLAIMS[0]] += bytes(512)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.CORRUPT
    assert standin.cluster.held() == 0


def test_a_claim_that_cdi_has_not_written_is_read_as_a_file(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.formats = ("dir", "tar.gz")
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content(standin, machine)


def test_a_gzip_stream_is_unpacked(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.formats = ("gzip",)
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content(standin, machine)


def test_gzip_that_ends_early_is_not_taken_for_the_disk(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    """The exporter ends the gzip of a volume that it cannot read as if it were complete."""
    standin.cluster.formats = ("gzip",)
    standin.gzip_ends_at = SIZE - BLOCK
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.BROKEN_STREAM
    assert not (tmp_path / "out").exists()


def test_gzip_without_an_end_is_refused(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.formats = ("gzip",)
    standin.content[CLAIMS[0]] = bytes(3 * SIZE)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.CORRUPT
    assert f"more than {SIZE} bytes" in str(caught.value)


def test_a_server_without_ranges_is_read_from_its_start(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.ranges = False
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content(standin, machine)


def test_a_format_that_cannot_be_read_is_refused(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.formats = ("tar.gz",)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.UNSUPPORTED
    assert standin.cluster.held() == 0


def test_the_external_link_is_used_if_the_internal_one_cannot_be_reached(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.external = standin.url
    standin.cluster.internal = "https://localhost:1"
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content(standin, machine)
    assert any(call.startswith("GET /api/export.kubevirt.io/") for call in standin.asked)


def test_the_address_of_the_source_is_the_only_way_if_there_is_one(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.internal = "https://localhost:1"
    for external in ("", "https://localhost:1"):
        standin.cluster.external = external
        plan = {"export_address": standin.url}
        exported(access, machine, tmp_path / f"out{len(external)}", plan=plan)
    reads = [call for call in standin.asked if "/volumes/" in call]
    name = exports.name_of("run-1", "disk-0")
    prefix = f"GET /api/export.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/virtualmachineexports/{name}/"
    assert all(call.startswith(prefix) for call in reads)


def test_an_address_where_nothing_answers_is_noticed_before_the_vm_is_stopped(
    standin: StandIn, access: MakeAccess
) -> None:
    with pytest.raises(StepError) as caught:
        described(access, plan={"export_address": "https://localhost:1"})
    assert caught.value.code is Exit.UNREACHABLE
    assert "spec.exportAddress" in str(caught.value)


def test_no_way_to_the_disk_names_all_ways(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.internal, standin.cluster.external = "https://localhost:1", "https://localhost:2"
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.UNREACHABLE
    assert "the internal link: " in str(caught.value)
    assert "the external link: " in str(caught.value)
    assert standin.cluster.held() == 0


def test_a_link_with_an_untrusted_certificate_gets_no_token(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.certificate = ""  # as of an Ingress whose certificate KubeVirt does not find
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.UNTRUSTED
    assert not any("/volumes/" in call for call in standin.asked)


@pytest.mark.parametrize("address", [False, True], ids=["as linked", "at the address of the source"])
@pytest.mark.parametrize(
    "url", ["http://localhost/x", "https://u:p@localhost/x", "ftp://x", "https://[", "x"]
)
def test_a_link_that_is_no_https_url_is_refused(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path, url: str, address: bool
) -> None:
    standin.cluster.internal = url
    plan = {"export_address": standin.url} if address else {}
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out", plan=plan)
    assert caught.value.code in (Exit.INVALID, Exit.UNREACHABLE)
    assert standin.cluster.held() == 0


def test_a_claim_in_use_is_waited_for_and_then_named(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr("steps.providers.kubevirt.power.CLOCK", lambda: 30.0 * next(ticks))
    in_use = {
        "metadata": {"uid": "1"},
        "status": {
            "phase": "Pending",
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "InUse", "message": "PVC shop/x is in use"}
            ],
        },
    }
    name = exports.name_of("run-1", "disk-0")
    standin.hook = lambda method, path: (
        Reply(200, json.dumps(in_use).encode()) if method == "GET" and path.endswith(name) else None
    )
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.BUSY
    assert "InUse: PVC shop/x is in use" in str(caught.value)
    assert standin.cluster.held() == 0


def test_a_vm_that_is_started_ends_the_transfer(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.kubevirt.exports.BEAT_SECONDS", 0.01)
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", (0.0, 5.0, 5.0))
    reads = iter(range(10**6))

    def start(method: str, path: str) -> Reply | None:
        if "/volumes/" in path and next(reads) == 1:
            standin.cluster.start()
        return None

    standin.hook = start
    monkeypatch.setattr("steps.disk.ranges.BLOCK", BLOCK)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code in (Exit.BROKEN_STREAM, Exit.POWER)
    assert standin.cluster.held() == 0
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.POWER


def test_a_stop_deletes_the_export(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    stop = Stop()

    def ask(method: str, path: str) -> Reply | None:
        if "/volumes/" in path:
            stop.set()
        return None

    standin.hook = ask
    with pytest.raises(Stopped):
        exported(access, machine, tmp_path / "out", stop=stop)
    assert standin.cluster.held() == 0


def test_an_export_of_a_killed_attempt_is_replaced(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    leave(standin, machine)
    exported(access, machine, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content(standin, machine)
    assert standin.cluster.held() == 0


def leave(standin: StandIn, machine: Machine, *, secret: bool = True) -> None:
    """What an attempt that was killed leaves."""
    name = exports.name_of("run-1", "disk-0")
    metadata = {"name": name, "namespace": NAMESPACE}
    source = {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": CLAIMS[0]}
    spec = {"source": source, "tokenSecretRef": name, "ttlDuration": "24h0m0s"}
    standin.cluster.put("virtualmachineexports", {"metadata": dict(metadata), "spec": spec})
    if secret:
        standin.cluster.put("secrets", {"metadata": dict(metadata), "stringData": {"token": "old"}})


@pytest.mark.parametrize("secret", [True, False])
def test_what_killed_attempts_left_is_released(
    standin: StandIn, access: MakeAccess, machine: Machine, secret: bool
) -> None:
    leave(standin, machine, secret=secret)
    with connect(access("release-source", machine=machine)) as source:
        assert source.release() == []
        assert standin.cluster.held() == 0
        assert source.release() == []


def test_an_export_that_cannot_be_deleted_is_reported(
    standin: StandIn, access: MakeAccess, machine: Machine
) -> None:
    leave(standin, machine)
    standin.cluster.denied = {("delete", "virtualmachineexports")}
    with connect(access("release-source", machine=machine)) as source:
        left = source.release()
    assert len(left) == 2
    assert left[0].startswith(f"VirtualMachineExport {NAMESPACE}/vmferry-")
    assert "of disk-0: " in left[0]


def test_before_preflight_found_the_vm_nothing_is_released(standin: StandIn, access: MakeAccess) -> None:
    with connect(access("release-source")) as source:
        assert source.release() == []
    assert standin.changes() == []


def test_an_export_killed_between_any_two_changes_leaves_nothing_after_the_next_attempt(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    for killed_after in range(6):
        changes = len(standin.changes())

        def kill(method: str, path: str, limit: int = changes + killed_after) -> Reply | None:
            changing = method != "GET" and "accessreviews" not in path and "dryRun" not in path
            return Reply(200, b"{}", cut=0) if changing and len(standin.changes()) > limit else None

        standin.hook = kill
        out = tmp_path / f"out-{killed_after}"
        with suppress(NoAnswerError):  # some attempts end well
            exported(access, machine, out)
        standin.hook = lambda method, path: None
        with connect(access("release-source", machine=machine)) as source:
            assert source.release() == []
        assert standin.cluster.held() == 0
        exported(access, machine, out)
        assert out.read_bytes() == content(standin, machine)
    assert standin.cluster.stops == 0


def change(standin: StandIn, name: str, **fields: Any) -> None:
    found = standin.cluster.objects["persistentvolumeclaims", name]
    for place, value in fields.items():
        found[place].update(value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"metadata": {"uid": "another"}}, "is another one now"),
        ({"status": {"capacity": {"storage": str(2 * SIZE)}}}, "was resized"),
    ],
)
def test_a_claim_that_has_changed_is_refused(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path, fields: Any, why: str
) -> None:
    change(standin, CLAIMS[0], **fields)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.INVALID
    assert why in str(caught.value)
    assert standin.changes() == []


def test_a_disk_that_was_removed_is_refused(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    standin.cluster.vm["spec"]["template"]["spec"]["volumes"].pop(0)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.INVALID


def test_the_token_is_only_in_the_secret(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    tokens: list[str] = []

    def look(method: str, path: str) -> Reply | None:
        tokens.extend(
            one["stringData"]["token"]
            for (plural, _), one in standin.cluster.objects.items()
            if plural == "secrets"
        )
        return None

    standin.hook = look
    exported(access, machine, tmp_path / "out")
    assert len(set(tokens)) == 1
    assert len(tokens[0]) == 32
    assert not any(tokens[0] in call for call in standin.asked)
