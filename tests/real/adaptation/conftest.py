"""The guests that all tests here share, and the step `adapt` on copies of them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from steps.disk.landed import Landed, LandingFiles
from steps.guest import v2v
from steps.guest.overlays import GuestDisk
from steps.model import scratch
from steps.model.adapted import ADAPTED, Adapted
from steps.model.contract import StepError
from steps.model.guest import GUEST, Guest
from steps.model.machine import Firmware, Machine, Nic
from steps.model.plan import Adapt, DiskFormat, GuestPlan
from steps.model.scratch import Ready
from steps.runtime.program import MACHINE, PLAN
from tests.real import lab_only
from tests.real.inspection.conftest import CACHE, PYTHON, ROOT, environment
from tests.real.inspection.conftest import images as inspection_images
from tests.unit.builders import a_disk, a_machine, a_plan

__all__ = ["environment", "inspection_images"]
HERE: Final = Path(__file__).parent
SECONDS: Final = 7200
"""For a build or a step. Each has limits of its own; on a busy computer all of it takes long."""
MAC: Final = "52:54:00:aa:00:01"
QUICK: Final = ("test_commit.py", "test_step.py", "test_windows.py", "test_wire.py")
"""Files for `make test`. The others take minutes of the appliance, and are part of `make e2e`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, HERE, pure=QUICK)


@dataclass
class Run:
    """A step on a copy of disks, in folders like those of an import."""

    folder: Path
    temporary: Path
    """Short: virt-v2v has sockets there, whose paths have at most 107 bytes (unix(7))."""
    environment: Mapping[str, str]
    disks: list[GuestDisk] = field(default_factory=list)

    def start(self, step: str, *more: str) -> subprocess.Popen[bytes]:
        """Start a step; its outputs go to the request, as the embedded runner does it."""
        argv = [sys.executable, "-m", f"steps.{step}", "--request", str(self.folder / "request")]
        argv += ["--outputs", str(self.folder / "request"), "--disks", str(self.folder / "disks"), *more]
        env = {
            **self.environment,
            "TMPDIR": str(self.temporary),
            "VMFERRY_TERMINATION_LOG": str(self.folder / "words"),
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log)

    def step(self, step: str, *more: str) -> int:
        process = self.start(step, *more)
        try:
            return process.wait(SECONDS)
        finally:
            process.kill()

    @property
    def words(self) -> str:
        return (self.folder / "words").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def adapted(self) -> Adapted:
        return Adapted.load(self.folder / "request" / ADAPTED)

    @property
    def guest(self) -> Guest:
        return Guest.load(self.folder / "request" / GUEST)

    def digests(self) -> list[str]:
        return [digest(disk.path) for disk in self.disks]


Prepare = Callable[..., Run]


@pytest.fixture(scope="session")
def windows(environment: dict[str, str]) -> Path:
    """The folder with a phony Windows, virtio-win and virt-tools."""
    return built("windows", environment, "images", "windows")


@pytest.fixture(scope="session")
def debian(environment: dict[str, str]) -> Path:
    """The folder with the old Debian: `debian.img` and `agent.deb`."""
    return built("old", environment, *_debian("old"))


@pytest.fixture(scope="session")
def new_debian(environment: dict[str, str]) -> Path:
    """The folder with the new Debian: `disk-0.img` and `disk-1.img`."""
    return built("new", environment, *_debian("new"))


def _debian(system: str) -> tuple[str, str]:
    needed = [name for name in ("mmdebstrap", "mformat", "grub-mkimage") if shutil.which(name) is None]
    if needed:
        pytest.skip(f"{' and '.join(needed)} are missing: run tests/prepare.sh packages v2v")
    return "debian", system


def built(name: str, environment: Mapping[str, str], module: str, system: str) -> Path:
    """The folder of a guest, which is built again when the programs that make it have changed.

    A Debian takes some minutes.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can build the guests")
    try:
        v2v.require()
    except StepError as error:
        pytest.skip(f"{error.what}: run tests/prepare.sh v2v")
    folder = CACHE / "adaptation" / name
    others = [HERE.parent / "inspection/images.py", HERE.parent / "inspection/hive.py"]
    sources = [HERE / f"{module}.py", *others]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists() or (folder / "done").read_text() != key:
            argv = [PYTHON, "-m", f"tests.real.adaptation.{module}", str(folder), system]
            subprocess.run(argv, cwd=ROOT, env=environment, check=True, timeout=SECONDS)
            (folder / "done").write_text(key)
    return folder


@pytest.fixture
def prepare(environment: dict[str, str], tmp_path: Path) -> Iterator[Prepare]:
    """Copies disks into scratch folders, as export and convert leave them."""

    temporary = tempfile.TemporaryDirectory(prefix="vf-")

    def call(*images: Path, efi: bool = False, nics: tuple[Nic, ...] = (), **guest: Any) -> Run:
        folder = tmp_path / "run"
        for name in ("request", "disks"):
            (folder / name).mkdir(parents=True)
        run = Run(folder, Path(temporary.name), {**environment, "PYTHONPATH": str(ROOT)})
        for number, image in enumerate(images):
            run.disks.append(landed(folder / "disks", f"disk-{number}", image))
        vm_nics = nics or (Nic(id="nic-0", mac=MAC, slot=192),)
        disks = tuple(
            a_disk(number).model_copy(update={"capacity": disk.ready.virtual_size})
            for number, disk in enumerate(run.disks)
        )
        vm: Machine = a_machine(disks=disks, nics=vm_nics)
        vm.model_copy(update={"firmware": Firmware(kind="efi" if efi else "bios")}).save(
            folder / "request" / MACHINE
        )
        wanted = GuestPlan(**{"inspect": True, "adapt": Adapt.AUTO, **guest})
        a_plan().model_copy(update={"guest": wanted}).save(folder / "request" / PLAN)
        return run

    with temporary:
        yield call


def landed(folder: Path, disk: str, image: Path) -> GuestDisk:
    """A copy of a raw image, with the records of its landing."""
    place = folder / disk
    place.mkdir()
    out = scratch.landing(place, DiskFormat.RAW)
    subprocess.run(["cp", "--sparse=always", image, out], check=True)
    size = out.stat().st_size
    record = Landed(out, "raw", size, size, 0, "digest", size, "source")
    LandingFiles(out).landed.write_text(record.to_json())
    Ready(file=out.name, format=DiskFormat.RAW, virtual_size=size, size=size).save(scratch.ready(place))
    return GuestDisk.load(disk, place)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LAUNCH_SECONDS: Final = 900
"""On a busy computer without KVM, a start of the appliance sometimes hangs."""


def read_back(run: Run, script: str) -> dict[str, Any]:
    """What a script reads from the disks with a started handle `g`, in one start of the appliance."""
    for _ in range(3):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return _read_back(run, script)
    pytest.fail("the appliance of libguestfs did not start")


def _read_back(run: Run, script: str) -> dict[str, Any]:
    adds = "".join(
        f"g.add_drive_opts({str(disk.path)!r}, readonly=1, format={str(disk.ready.format)!r})\n"
        for disk in run.disks
    )
    program = (
        f"import guestfs, json\ng = guestfs.GuestFS(python_return_dict=True)\n{adds}g.launch()\n{script}\n"
    )
    ended = subprocess.run(
        [PYTHON, "-I", "-c", program],
        env=dict(run.environment),
        capture_output=True,
        text=True,
        timeout=LAUNCH_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
