"""The folder of an embedded import: its paths, its ownership, its lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from controller.step_program import write_credentials
from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.model.plan import Plan
from steps.runtime.program import PLAN
from steps.targets.directory import DOCUMENTS, STATE_FOLDER
from workflows.stages import CHECKS
from workflows.status.nodes import Phase, leaves, phase_of

STATE: Final = "run.json"
RESERVE: Final = 1 << 20
"""Bytes kept free for the state: many times the size of the largest one."""


class RunDir:
    """The folder of one import. Results are in it, everything else is below `.vmferry`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.notes = self.root / STATE_FOLDER
        self.state = self.root / STATE
        self.request = self.notes / "request"
        self.credentials = self.notes / "credentials"
        self.keys = self.notes / "keys"
        self.scripts = self.notes / "scripts"
        """What the guest gets: passphrases of its disks, and scripts for its first start."""
        self.hooks = self.notes / "hooks"
        self.logs = self.notes / "logs"
        self._reserve = self.notes / "reserve"

    @property
    def scratches(self) -> Path:
        """The folder with the scratch of every disk."""
        return self.notes / "scratch"

    def scratch(self, name: str) -> Path:
        """The folder that attempts share: of a disk, or of a stage of the whole VM."""
        return self.scratches / name

    def log(self, stage: str, disk: str | None) -> Path:
        """The log of all attempts of a stage."""
        return self.logs / (f"{stage}-{disk}.log" if disk else f"{stage}.log")

    def create(self, plan: Plan, credentials: Mapping[str, bytes]) -> None:
        """Prepare the folder for a new import; `require_free` has found it free."""
        self.request.mkdir(parents=True)
        self.logs.mkdir()
        plan.save(self.request / PLAN)
        self.write_credentials(credentials)

    def require_free(self) -> None:
        """Require that the folder is missing or empty.

        An import that failed in its checks has changed nothing and is replaced.

        Raises:
            StepError: CONFLICT.
        """
        if self.is_untouched():
            self._delete_untouched()
        if self.root.exists() and not self.root.is_dir():
            raise StepError(Exit.CONFLICT, f"{self.root} is not a folder", remedy="choose another --into")
        if self.state.exists():
            raise StepError(
                Exit.CONFLICT,
                f"{self.root} already contains an import",
                remedy=f"resume it with `vmferry retry {self.root}`, or choose another --into",
            )
        if self.root.exists() and any(self.root.iterdir()):
            raise StepError(
                Exit.CONFLICT,
                f"{self.root} is not empty",
                "vmferry did not fill it",
                "choose an empty or new folder",
            )

    def _delete_untouched(self) -> None:
        try:
            os.close(self.lock())
        except BlockingIOError:
            failure = f"{self.root} is in use by another vmferry process"
            raise StepError(Exit.BUSY, failure, remedy="wait for it, or choose another --into") from None
        for state in (self.state, self.root / f"{STATE}.partial"):
            state.unlink(missing_ok=True)
        shutil.rmtree(self.notes)

    def is_untouched(self) -> bool:
        """Whether the folder contains only an import that has not changed anything."""
        names = {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()
        if not self.notes.is_dir() or not names <= {STATE_FOLDER, STATE, f"{STATE}.partial"}:
            return False
        if not self.state.exists():  # without the state, landed disks must be kept
            return not any((self.notes / "scratch").glob("disk-*/*"))
        quiet = (Phase.SKIPPED, Phase.OMITTED)
        begun = {leaf.stage for leaf in leaves(self.load()) if leaf.phase not in quiet}
        return begun <= CHECKS and phase_of(self.load()) is Phase.FAILED

    def require_import(self) -> None:
        """Raise StepError (NOT_FOUND) unless the folder contains an import."""
        if not self.state.exists() or not (self.request / PLAN).exists():
            raise StepError(
                Exit.NOT_FOUND,
                f"no import in {self.root}",
                f"it does not contain {STATE}",
                "name the folder that you gave to `vmferry run --into`",
            )

    def write_credentials(self, credentials: Mapping[str, bytes]) -> None:
        """Keep the credentials as files that only their owner can read, until the import has succeeded."""
        self.delete_credentials()
        write_credentials(self.credentials, credentials)

    def delete_credentials(self) -> None:
        shutil.rmtree(self.credentials, ignore_errors=True)

    def write_guest_inputs(self, keys: Mapping[str, bytes], scripts: Mapping[str, bytes]) -> None:
        """Keep the keys and scripts of the guest likewise. An empty mapping has no folder."""
        self.delete_guest_inputs()
        for folder, files in ((self.keys, keys), (self.scripts, scripts)):
            if files:
                write_credentials(folder, files)

    def delete_guest_inputs(self) -> None:
        for folder in (self.keys, self.scripts):
            shutil.rmtree(folder, ignore_errors=True)

    def load(self) -> dict[str, Any]:
        """The state as the last runner left it."""
        self.require_import()
        try:
            state: dict[str, Any] = json.loads(self.state.read_bytes())
        except ValueError as error:
            raise StepError(
                Exit.CORRUPT,
                f"cannot read {self.state}",
                str(error),
                "restore it, or import into a new folder",
            ) from None
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state; if the filesystem is full, into the reserved space.

        If that is used up too, the state stays as it was: a retry treats it as that of a killed runner.
        """
        text = json.dumps(state, indent=1) + "\n"
        try:
            write_atomically(self.state, text)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._reserve.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                write_atomically(self.state, text)

    def reserve_space(self) -> None:
        """Reserve space for the state, so that it can be saved when a disk fills the filesystem."""
        with contextlib.suppress(OSError), self._reserve.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE)

    def delete_copies(self) -> list[str]:
        """Delete everything that was copied or found; the plan and the credentials stay. Returns the disks.

        For a new run from preflight: nothing of it may be taken for a copy of the VM as it is now.
        """
        disks = self.published_disks()
        for path in (*map(Path, disks), *(self.root / name for name in DOCUMENTS)):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.notes / "published", ignore_errors=True)
        shutil.rmtree(self.notes / "scratch", ignore_errors=True)
        for path in self.request.iterdir():
            if path.name != PLAN:
                path.unlink()
        return disks

    def published_disks(self) -> list[str]:
        """The paths of the disks in the folder (`steps.targets.directory`)."""
        records = sorted((self.notes / "published").glob("*.json"))
        return [str(file) for record in records for file in self.root.glob(f"{record.stem}.*")]

    def delete_leftovers(self) -> None:
        """Delete what a succeeded import no longer needs: credentials, scratch, reserved space."""
        self.delete_credentials()
        self.delete_guest_inputs()
        shutil.rmtree(self.notes / "scratch", ignore_errors=True)
        self._reserve.unlink(missing_ok=True)

    def lock(self) -> int:
        """Lock the folder for this process and its steps, which inherit the descriptor.

        Raises:
            BlockingIOError: if a runner, or a step that outlived its runner, still works in it.
        """
        self.notes.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.notes / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        os.set_inheritable(descriptor, True)
        return descriptor

    def mark_running(self) -> None:
        """Mark the lock as held by a living runner, not only by orphaned steps, until this process ends."""
        descriptor = os.open(self.notes / "runner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # `is_running` holds it only for a moment

    def is_running(self) -> bool:
        """Whether a living runner has called `mark_running`."""
        try:
            with (self.notes / "runner").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False
