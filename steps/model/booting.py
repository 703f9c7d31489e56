"""Whether the guest of a new VM has booted: the evidence, the rules, and the document `booted.json`. Pure.

The numbers were measured with ten guests that booted and four that did not (docs/explanation/boot-check.md):
a guest that finds no root file system reads 17 to 22 MB and writes nothing; one that boots writes 1.5 to
4 MB. A guest that nothing is known about has not failed: it is `UNKNOWN`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, Literal

from pydantic import Field

from steps.model.concerns import warn
from steps.model.console_text import ConsoleState
from steps.model.document import Document
from steps.model.machine import Concern
from steps.model.vm_counters import Counters

BOOTED: Final = "booted.json"
"""File name of the document `BootResult`."""
LINUX_SECONDS: Final = 600
WINDOWS_SECONDS: Final = 1200
"""Default time limits. Windows restarts several times at its first boot on new hardware."""
WRITES: Final = 1 << 20
"""Bytes that only a guest writes that has its root file system."""
FEW_WRITES: Final = 256 << 10
"""Bytes that firmware and boot loaders may write: EFI keeps its variables on the disk."""
RUNS_ON_SECONDS: Final = 30.0
"""How long a guest must run on after `WRITES`, or after its first sign of life, to have booted."""
QUIET_SECONDS: Final = 120.0
"""How long a guest reads nothing before it counts as stuck."""
TROUBLE_SECONDS: Final = 30.0
"""How long the console says nothing after a bad sign."""
LOOP: Final = 3
"""The number of bad signs, one for each boot, that make a loop."""
LONGEST_MESSAGE: Final = 1000
MOST_ADDRESSES: Final = 16


class Verdict(enum.StrEnum):
    """The judgement of a boot."""

    BOOTED = "booted"
    SILENT = "network-silent"
    """It has booted, but has sent no frame, or does not answer at the port that the import names."""
    STUCK = "stuck"
    """It will not boot without a change."""
    UNKNOWN = "unknown"
    """Nothing proves either. This is never a failure."""
    NOT_STARTED = "not-started"
    """The import does not start the VM."""


@dataclass(frozen=True)
class Look:
    """What is seen of a VM at one moment."""

    at: float
    """Seconds since the VM was first seen running."""
    agent: bool = False
    """Whether the guest agent is connected (condition AgentConnected)."""
    counters: Counters | None = None
    """None: nobody could say."""
    console: ConsoleState | None = None
    port_open: bool | None = None
    """None: no port is asked."""


@dataclass(frozen=True)
class Rules:
    """What one import expects of the guest."""

    seconds: float
    """Until the judgement is final."""
    has_nic: bool = True
    """Whether the VM has a NIC that is connected, so that it should send frames."""
    wants_port: bool = False


@dataclass(frozen=True)
class History:
    """What was seen of one instance of a VM, in a form that does not grow."""

    look: Look | None = None
    """The last one."""
    read_at: float = 0.0
    """When it last read."""
    alive_at: float | None = None
    """When it first showed that it has booted; None before that."""
    wrote_at: float | None = None
    """When it had first written `WRITES`."""
    console_at: float = 0.0
    """When the console last changed."""

    def after(self, look: Look) -> History:
        """The history with another look."""
        before = self.look
        wrote = look.counters is not None and look.counters.written >= WRITES
        wrote_at = self.wrote_at if self.wrote_at is not None or not wrote else look.at
        changed = replace(
            self,
            look=look,
            read_at=look.at if _has_read(before, look) else self.read_at,
            wrote_at=wrote_at,
            console_at=look.at if _has_spoken(before, look) else self.console_at,
        )
        alive_at = self.alive_at
        if alive_at is None and _is_alive(changed, look):
            alive_at = look.at
        return replace(changed, alive_at=alive_at)


class Judged(Document):
    """A verdict and why, as a sentence."""

    verdict: Verdict
    why: str


def judge(history: History, rules: Rules) -> Judged | None:
    """The verdict; None while it is too early for one."""
    look = history.look
    if look is None:
        return None
    is_over = look.at >= rules.seconds
    if trouble := _trouble(history, look, is_over=is_over):
        return trouble
    if _has_life(look) or history.alive_at is not None:
        return _judge_alive(history, look, rules, is_over=is_over)
    if stuck := _stuck(history, look):
        return stuck
    if is_over:
        return Judged(verdict=Verdict.UNKNOWN, why=_unknown(look, rules))
    return None


def limit(seconds: int | None, *, windows: bool) -> float:
    """The time limit of an import."""
    return float(seconds or (WINDOWS_SECONDS if windows else LINUX_SECONDS))


def _trouble(history: History, look: Look, *, is_over: bool) -> Judged | None:
    """A bad sign on the console overrules the counters: an emergency shell has written something, too."""
    console = look.console
    if console is None or look.agent or look.port_open:
        return None
    if console.panics >= LOOP:
        return Judged(verdict=Verdict.STUCK, why="the guest boots again and again without success")
    quiet = look.at - history.console_at >= TROUBLE_SECONDS
    if console.trouble and (quiet or is_over):
        return Judged(verdict=Verdict.STUCK, why=f"the guest stopped in {console.trouble}")
    return None


def _judge_alive(history: History, look: Look, rules: Rules, *, is_over: bool) -> Judged | None:
    """The guest has booted: what about its network?"""
    how = _how(look)
    if look.port_open:
        return Judged(verdict=Verdict.BOOTED, why=f"the guest has booted: {how}")
    if rules.wants_port:
        why = f"the guest has booted ({how}), but it does not answer at the port"
        return Judged(verdict=Verdict.SILENT, why=why) if is_over else None
    if look.counters is None or look.counters.sent or not rules.has_nic:
        return Judged(verdict=Verdict.BOOTED, why=f"the guest has booted: {how}")
    since = history.alive_at if history.alive_at is not None else look.at
    if look.at - since < RUNS_ON_SECONDS and not is_over:
        return None
    why = f"the guest has booted ({how}), but it has sent nothing to its network"
    return Judged(verdict=Verdict.SILENT, why=why)


def _stuck(history: History, look: Look) -> Judged | None:
    """Not without counters: a guest may be silent for minutes and boot then."""
    counters = look.counters
    if counters is None or counters.written >= FEW_WRITES or counters.sent:
        return None
    if look.at - history.read_at < QUIET_SECONDS:
        return None
    megabytes = counters.read / 1e6
    why = (
        f"the guest has written almost nothing ({counters.written >> 10} KiB), has read {megabytes:.0f} MB, "
        f"and has read nothing for {QUIET_SECONDS:.0f} s"
    )
    return Judged(verdict=Verdict.STUCK, why=why)


def _unknown(look: Look, rules: Rules) -> str:
    lacks = ["no guest agent"]
    if rules.wants_port:
        lacks.append("no answer at the port")
    if look.counters is None:
        lacks.append("no counters of its disks")
    if look.console is None:
        lacks.append("no console")
    return f"nothing proves within {rules.seconds:.0f} s that the guest has booted: {', '.join(lacks)}"


def _is_alive(history: History, look: Look) -> bool:
    """Whether the guest has booted by now."""
    if _has_life(look):
        return True
    in_trouble = look.console is not None and bool(look.console.trouble)
    since = history.wrote_at
    return since is not None and look.at - since >= RUNS_ON_SECONDS and not in_trouble


def _has_life(look: Look) -> bool:
    return look.agent or bool(look.port_open) or (look.console is not None and look.console.booted)


def _how(look: Look) -> str:
    """The strongest evidence."""
    if look.agent:
        return "its guest agent is connected"
    if look.port_open:
        return "it answers at the port"
    if look.console is not None and look.console.booted:
        return "its console shows it"
    written = look.counters.written if look.counters else 0
    return f"it has written {written / 1e6:.1f} MB"


def _has_read(before: Look | None, look: Look) -> bool:
    """Any difference counts: the counters begin again when the VM is migrated."""
    if before is None or before.counters is None or look.counters is None:
        return True
    return before.counters.read != look.counters.read


def _has_spoken(before: Look | None, look: Look) -> bool:
    if before is None or before.console is None or look.console is None:
        return True
    return before.console.fingerprint != look.console.fingerprint


class BootEvidence(Document):
    """What was seen last; numbers are None where nobody could say."""

    agent: bool = False
    read_bytes: int | None = None
    written_bytes: int | None = None
    frames_sent: int | None = None
    port_open: bool | None = None
    addresses: tuple[str, ...] = ()
    """Of the guest, as KubeVirt reports them."""
    console: str = ""
    """The last lines, for a message (`console_text.quote`)."""
    missing: tuple[str, ...] = ()
    """What could not be read, and why."""


class BootResult(Document):
    """The result of the stage `check`."""

    version: Literal["1"] = "1"
    verdict: Verdict
    message: str
    fell_back: bool = False
    """Whether the VM has SATA disks and e1000e NICs because it did not boot as it was built."""
    seconds: int = 0
    """From the first look to the verdict."""
    evidence: BootEvidence = BootEvidence()
    kept_in: str = Field(default="", exclude_if=lambda value: not value)
    """Where the screenshot and the console are."""


def concerns_of(result: BootResult) -> tuple[Concern, ...]:
    """What a person should know about a guest that runs."""
    found = []
    if result.fell_back and result.verdict in (Verdict.BOOTED, Verdict.SILENT):
        found.append(
            warn(
                "booted-on-sata",
                "the guest did not boot as the VM was built, so it has SATA disks and e1000e NICs",
                "install the virtio drivers in the guest, then change the bus and the model in the VM",
            )
        )
    if result.verdict is Verdict.SILENT:
        found.append(warn("network-silent", result.message, "check the network of the guest"))
    return tuple(found)
