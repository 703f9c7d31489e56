"""The step `adapt` with the real virt-v2v: refusals, kills, a stop."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from steps.guest import v2v
from steps.guest.overlays import OVERLAY
from steps.model.adapted import ADAPTED
from steps.model.adapting import NotAdaptableError
from steps.model.contract import Exit
from steps.model.guest import GUEST
from steps.model.plan import Adapt, WhenNotAdaptable
from steps.runtime.stop import Stop
from tests.real.adaptation.conftest import Prepare, Run
from tests.real.adaptation.looking import processes
from tests.real.adaptation.test_windows import a_windows, read_windows
from tests.real.inspection.conftest import images
from tests.real.standins.process import eventually

__all__ = ["images"]
pytestmark = pytest.mark.timeout(7200)
PHASE_SECONDS = 900.0
"""Until the conversion reaches a phase."""


# --- a phony Windows, killed on the way

KILLS = (
    "opening the disks",
    "inspecting the guest",
    "checking for free space",
    "converting the guest",
    "trimming the file systems",
    "closing the disks",
    "starting the appliance of libguestfs",
    "looking for operating systems",
    "reading the system on /dev/sda1",
    "reading the boot partitions",
)
"""What is being done when the step is killed: virt-v2v first, then the proof."""


def test_a_phony_windows_is_converted_after_kills_in_each_phase(
    windows: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_windows(windows, prepare, monkeypatch)
    before = run.digests()
    for text in KILLS:
        _kill_at(run, text)
        assert run.digests() == before, text
        assert not (run.disks[0].folder / ADAPTED).exists(), text
    assert run.step("adapt") == Exit.DONE, run.log
    assert [disk.landed for disk in run.adapted.disks] == before
    assert processes(run) == []
    read_windows(run)


def _kill_at(run: Run, text: str) -> None:
    (run.folder / "log").write_text("")
    process = run.start("adapt")
    eventually(lambda: text in run.log or process.poll() is not None, text, PHASE_SECONDS)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert text in run.log
    eventually(lambda: processes(run) == [], "the end of its programs", 60)


def test_windows_without_its_drivers_in_virtio_win_is_refused_before_anything(
    windows: Path, prepare: Prepare, tmp_path: Path
) -> None:
    run = prepare(windows / "windows.img", virtio_win=str(tmp_path))
    run.environment = {**run.environment, v2v.TOOLS_ENV: str(windows / "virt-tools")}
    assert run.step("inspect") == Exit.DONE, run.log
    before = run.digests()
    assert run.step("adapt") == Exit.INVALID
    assert "has no viostor for this version of Windows" in run.words
    assert run.digests() == before
    assert not run.disks[0].overlay.exists()


# --- refusals


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        ("luks.img", Exit.INVALID, "/dev/sda1 is encrypted by LUKS, so no system can be seen"),
        ("blank.img", Exit.UNSUPPORTED, "no operating system was found"),
        ("two.img", Exit.AMBIGUOUS, "there are 2 operating systems"),
        ("alpine.img", Exit.UNSUPPORTED, "virt-v2v does not convert Alpine Linux v3.20 (phony)"),
        ("unknown.img", Exit.UNSUPPORTED, "the operating system on /dev/sda1 is not known"),
        (
            "asleep.img",
            Exit.UNSUPPORTED,
            "Windows Server 2022 Standard (phony) is suspended to its disk, perhaps by fast start-up",
        ),
        ("full.img", Exit.NO_SPACE, "/ on /dev/sda1 is too full for a conversion"),
        ("dirty.img", Exit.UNSUPPORTED, "the NTFS file system on /dev/sda1 is marked dirty"),
    ],
)
def test_a_guest_that_cannot_be_adapted_has_one_clear_message(
    images: Path, prepare: Prepare, image: str, code: Exit, words: str
) -> None:
    run = prepare(images / image, adapt=Adapt.ALWAYS)
    assert run.step("inspect") == Exit.DONE, run.log
    before = run.digests()
    assert run.step("adapt") == code
    assert run.words.startswith(f"the guest cannot be adapted: {words}")
    assert "spec.guest.whenNotAdaptable: continue" in run.words
    assert run.digests() == before
    kept = run.guest
    run_continuing(run)
    assert run.step("adapt") == Exit.DONE
    assert [one.code for one in run.adapted.concerns] == ["guest-not-adapted"]
    assert not run.adapted.changed
    assert run.guest == kept
    assert run.digests() == before


def run_continuing(run: Run) -> None:
    from steps.model.plan import Plan  # noqa: PLC0415 - only here
    from steps.runtime.program import PLAN  # noqa: PLC0415

    plan = Plan.load(run.folder / "request" / PLAN)
    wanted = plan.guest.model_copy(update={"when_not_adaptable": WhenNotAdaptable.CONTINUE})
    plan.model_copy(update={"guest": wanted}).save(run.folder / "request" / PLAN)


def test_a_virt_v2v_that_gives_up_leaves_no_qemu_nbd_and_its_reason_is_clear(
    images: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare(images / "luks.img")
    for name, value in run.environment.items():
        monkeypatch.setenv(name, value)
    overlay = run.disks[0].folder / OVERLAY
    argv = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        run.disks[0].path.name,
        str(overlay),
    ]
    subprocess.run(argv, check=True)
    order = v2v.Conversion(overlays=[overlay], root="single", keys={})
    with pytest.raises(NotAdaptableError) as failure:
        v2v.convert(order, run.temporary, report=lambda _part, _text: None, stop=Stop())
    assert failure.value.code is Exit.INVALID
    assert failure.value.what == "the guest's disk is encrypted, and there is no key for it"
    assert processes(run) == []


def test_a_stop_ends_everything_and_leaves_the_disk_as_it_landed(debian: Path, prepare: Prepare) -> None:
    run = prepare(debian / "debian.img")
    assert run.step("inspect") == Exit.DONE, run.log
    before = run.digests()
    process = run.start("adapt")
    text = "inspecting the guest"
    eventually(lambda: text in run.log or process.poll() is not None, text, PHASE_SECONDS)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == Exit.STOPPED
    assert processes(run) == []
    assert list(run.temporary.iterdir()) == []
    assert run.digests() == before
    assert not run.disks[0].overlay.exists()
    assert not (run.folder / "request" / ADAPTED).exists()
    assert (run.folder / "request" / GUEST).exists()
