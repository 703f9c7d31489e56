"""One disk with its own lease: the right bytes, and no leftovers however it ends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from steps.model.contract import Exit, StepError, Stopped
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import Access, connect
from steps.providers.vmware import export, lease
from steps.providers.vmware.session import Session, log_in
from tests.real.providers.vmware.conftest import MakeAccess
from tests.real.simulator import Simulator, StartSimulator, make_access
from tests.unit.steps.providers.vmware.test_export import _impatient

__all__ = ["_impatient"]

pytestmark = pytest.mark.vcenter

KIB: Final = 1 << 10
MIB: Final = 1 << 20


def image(path: Path, size: int, seed: int) -> Path:
    """A disk with data at its start, in its middle and at its end, and holes between."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        for offset in (0, size // 2, size - 64 * KIB):
            file.seek(offset)
            file.write(noise.randbytes(64 * KIB))
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("images")
    sizes = {"pvscsi": 3, "sata": 4, "nvme": 5, "iso": 1}
    made = {name: image(folder / name, size * MIB, size) for name, size in sizes.items()}
    (folder / "full").write_bytes(random.Random(0).randbytes(4 * MIB))
    return {**made, "full": folder / "full"}


def inventory(images: dict[str, Path], **top: Any) -> dict[str, Any]:
    three = [{"file": str(images[name]), "controller": name} for name in ("pvscsi", "sata", "nvme")]
    one = three[:1]
    vms = [
        {"name": "three", "firmware": "efi", "cdrom": str(images["iso"]), "disks": three},
        {"name": "one", "disks": one},
        {"name": "on", "disks": one, "power": "on"},
        {"name": "full", "disks": [{"file": str(images["full"])}]},
    ]
    return {"leaseTimeoutSeconds": 2, **top, "datacenters": [{"vms": vms}]}


@pytest.fixture(scope="module")
def shared(images: dict[str, Path], simulator_states: Callable[[str], Path]) -> Iterator[Simulator]:
    with Simulator.start(inventory(images), simulator_states("export")) as simulator:
        yield simulator


class Run:
    """An export in a thread, while the test watches it from outside."""

    def __init__(self, access: Access, vm: str = "one", number: int = 0) -> None:
        self.out = access.state_folder.parent / f"{vm}-{number}"
        self.reports: list[tuple[int, int]] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(access, vm, number))
        self._thread.start()

    def _run(self, access: Access, vm: str, number: int) -> None:
        try:
            with connect(access) as source:
                machine = source.describe(vm, None)
                source.export(machine, machine.disks[number], self.out, DiskFormat.RAW, self._report)
        except BaseException as error:
            self.error = error

    def _report(self, done: int, total: int) -> None:
        self.reports.append((done, total))

    def finish(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def fails(self) -> StepError:
        with pytest.raises(StepError) as caught:
            self.finish()
        return caught.value


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60  # a busy computer is slow
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def ends(vcenter: Simulator) -> list[str]:
    return [each["end"] for each in vcenter.leases(ended=True)]


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def test_each_disk_gets_its_own_bytes(
    vcenter: Simulator, access: MakeAccess, images: dict[str, Path]
) -> None:
    for number, name in enumerate(("pvscsi", "sata", "nvme")):
        run = Run(access(), "three", number)
        run.finish()
        assert same(run.out, images[name]), name
        assert run.reports
    assert ends(vcenter)[-3:] == ["completed"] * 3
    assert [call["disk"] for call in vcenter.calls("GET")] == ["disk-0.vmdk", "disk-1.vmdk", "disk-2.vmdk"]
    states = [(task["descriptionId"], task["state"]) for task in vcenter.tasks()][-3:]
    assert states == [("VirtualMachine.ExportVmLRO", "success")] * 3


def test_the_lease_is_kept_alive_with_the_real_percentage(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.faults(pauseAt=3 * MIB)
    run = Run(access(), "full")
    started = time.monotonic()
    assert vcenter.held(10)
    until(lambda: time.monotonic() - started > 2.5)  # longer than the lease lives without a keep-alive
    (live,) = vcenter.leases()
    assert 0 < live["percent"] < 100
    vcenter.release()
    run.finish()
    percents = vcenter.leases(ended=True)[-1]["percents"]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_a_disk_that_landed_before_needs_no_lease(vcenter: Simulator, access: MakeAccess) -> None:
    for _ in range(2):
        Run(access()).finish()
    assert len(vcenter.calls("ExportVm")) == 1


def test_the_thumbprint_is_used_for_the_disk_too(
    vcenter: Simulator, access: MakeAccess, images: dict[str, Path]
) -> None:
    run = Run(access(thumbprint=vcenter.thumbprint_sha256, keys={"caCert": ""}))
    run.finish()
    assert same(run.out, images["pvscsi"])


def test_a_stop_during_a_silent_stream_aborts_the_lease(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.faults(pauseAt=100 * KIB)
    asked = access(step="export-disk-0")
    run = Run(asked)
    assert vcenter.held(10)
    asked.stop.set()
    with pytest.raises(Stopped):
        run.finish()
    assert ends(vcenter)[-1] == "aborted"
    assert len(vcenter.calls("Logout")) == 1
    assert list(asked.state_folder.glob("session*")) == []


def test_an_error_while_landing_aborts_the_lease(
    vcenter: Simulator, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise StepError(Exit.NO_SPACE, "no room")

    monkeypatch.setattr(export, "land", fail)
    assert Run(access()).fails().code is Exit.NO_SPACE
    assert ends(vcenter)[-1] == "aborted"


def test_an_expired_lease_is_a_broken_stream(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.faults(pauseAt=100 * KIB)
    run = Run(access())
    assert vcenter.held(10)
    vcenter.faults(expireLease="now")
    assert run.fails().code is Exit.BROKEN_STREAM
    assert ends(vcenter)[-1] == "expired"


def test_a_lost_lease_is_detected_when_its_stream_breaks(
    images: dict[str, Path], tmp_path: Path, start_simulator: StartSimulator
) -> None:
    """Before the next keep-alive, which is 30 s away, and before the dead URL was tried for 10 s."""
    vcenter = start_simulator(inventory(images, leaseTimeoutSeconds=300))
    vcenter.faults(pauseAt=100 * KIB)
    run = Run(make_access(vcenter, tmp_path))
    assert vcenter.held(10)
    start = time.monotonic()
    vcenter.faults(expireLease="now")
    error = run.fails()
    assert time.monotonic() - start < 5
    assert error.code is Exit.BROKEN_STREAM
    assert "the export lease was lost" in str(error)
    assert len(vcenter.calls("GET")) <= 2


@pytest.mark.parametrize("fault", [{"http500": 1}, {"http401": 1}, {"cutAfterBytes": 50 * KIB}])
def test_a_failing_url_is_retried(
    vcenter: Simulator, access: MakeAccess, images: dict[str, Path], fault: dict[str, int]
) -> None:
    """In the same step or in the next attempt, as the landing decides. The lease is released in any case."""
    vcenter.faults(**fault)
    run = Run(access())
    try:
        run.finish()
    except StepError as error:
        assert not error.code.permanent, str(error)  # noqa: PT017 - it may as well succeed
        run = Run(access())
        run.finish()
    assert same(run.out, images["pvscsi"])
    assert vcenter.leases() == []


def test_a_lease_that_fails_to_initialise_is_retryable(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.faults(leaseError=1)
    error = Run(access()).fails()
    assert not error.code.permanent
    assert "cannot export disk-0 of /DC0/vm/one: " in str(error)


def test_an_export_waits_for_the_only_lease(vcenter: Simulator, access: MakeAccess) -> None:
    other = killed_with_lease(access(step="export-disk-1"), vcenter)
    run = Run(access(step="export-disk-0"))
    until(lambda: [call["fault"] for call in vcenter.calls("ExportVm")].count("InvalidState") >= 2)
    other.content.sessionManager.Logout()
    other.stub.DropConnections()
    run.finish()


def test_the_wait_for_the_lease_ends_on_a_stop(vcenter: Simulator, access: MakeAccess) -> None:
    other = killed_with_lease(access(step="export-disk-1"), vcenter)
    asked = access(step="export-disk-0")
    run = Run(asked)
    until(lambda: len(vcenter.calls("ExportVm")) >= 2)
    asked.stop.set()
    with pytest.raises(Stopped):
        run.finish()
    other.content.sessionManager.Logout()
    other.stub.DropConnections()


@pytest.mark.parametrize("fault", ["InvalidState", "ResourceInUse", "FileLocked"])
def test_the_wait_for_the_lease_has_a_time_limit(
    vcenter: Simulator, access: MakeAccess, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
    vcenter.faults(exportFault=fault)
    assert Run(access()).fails().code is Exit.BUSY
    assert len(vcenter.calls("ExportVm")) == 1


def test_a_missing_privilege_is_named(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.faults(exportFault="NoPermission")
    error = Run(access()).fails()
    assert error.code is Exit.DENIED
    assert "privilege" in str(error)
    assert len(vcenter.calls("ExportVm")) == 1


def test_the_session_of_a_killed_attempt_is_ended(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access(step="export-disk-0")
    killed_with_lease(asked, vcenter).stub.DropConnections()
    Run(asked).finish()
    assert ends(vcenter)[-2:] == ["session", "completed"]


def killed_with_lease(asked: Access, vcenter: Simulator) -> Session:
    session = log_in(asked)
    moid = vcenter.vm("one")["moid"]
    session.vm(Machine(name="one", source_id=moid, vcpus=1, memory_mib=1)).ExportVm()
    return session


def test_a_running_vm_is_refused(vcenter: Simulator, access: MakeAccess) -> None:
    error = Run(access(), "on").fails()
    assert error.code is Exit.POWER
    assert vcenter.calls("ExportVm") == []


@pytest.mark.parametrize(
    ("machine", "disk", "code"),
    [
        ({"instance_uuid": "another"}, {}, Exit.NOT_FOUND),
        ({"source_id": "vm-99999"}, {}, Exit.NOT_FOUND),
        ({}, {"key": "2015"}, Exit.INVALID),
        ({}, {"capacity": MIB}, Exit.INVALID),
        ({}, {"uuid": "another"}, Exit.INVALID),
    ],
)
def test_a_vm_or_disk_that_changed_is_refused(
    vcenter: Simulator, access: MakeAccess, tmp_path: Path, machine: Any, disk: Any, code: Exit
) -> None:
    with connect(access()) as source:
        seen = source.describe("one", None)
        wanted: Disk = seen.disks[0].model_copy(update=disk)
        with pytest.raises(StepError) as caught:
            source.export(
                seen.model_copy(update=machine), wanted, tmp_path / "out", DiskFormat.RAW, lambda *_: None
            )
    assert caught.value.code is code
    assert vcenter.calls("ExportVm") == []


def test_a_disk_of_a_stand_alone_host_is_exported(
    start_simulator: StartSimulator, images: dict[str, Path], tmp_path: Path
) -> None:
    host = start_simulator(inventory(images, kind="esxi"))
    run = Run(make_access(host, tmp_path), "three", 2)
    run.finish()
    assert same(run.out, images["nvme"])
    assert host.sessions() == []


def test_another_host_is_trusted_by_the_thumbprint_of_the_lease(
    start_simulator: StartSimulator, images: dict[str, Path], tmp_path: Path
) -> None:
    """The URLs contain 127.0.0.1, the endpoint localhost. Only the endpoint's host gets a cookie."""
    other = start_simulator(inventory(images, requireCookie=False))
    asked = make_access(other, tmp_path, endpoint=other.url.replace("127.0.0.1", "localhost"))
    run = Run(asked, "one")
    run.finish()
    assert same(run.out, images["pvscsi"])
