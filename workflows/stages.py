"""The stage table: the only definition of what an import does, in which order, and by which rules.

The Argo WorkflowTemplate and the embedded runner are made from it. A stage is a step program that runs once
for the VM or once for each disk; edges, retry rules, identities and limits are columns, not code.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from steps.model import leftovers
from steps.model.booting import BOOTED
from steps.model.guest_output import GUEST_OUTPUT
from steps.model.machine_output import MACHINE_OUTPUT
from steps.model.plan import DiskWay, TargetKind
from steps.model.restore import RESTORED


class Scope(enum.Enum):
    """How often a stage is run."""

    MACHINE = "once"
    DISK = "once for each disk"
    EXIT = "at the end, however it ends"


class Identity(enum.StrEnum):
    """The service account a stage runs under; docs/explanation/security.md lists what each may do."""

    DATA = "data"
    """Reads the source or its disks; may do nothing but report its result."""
    SERVE = "serve"
    TARGET = "target"
    SCRATCH = "scratch"
    """Deletes the scratch claims of a run."""
    GUEST = "guest"
    """Looks into the disks of a VM; may do nothing but report its result."""
    BOOT = "boot"
    """Looks at the new VM from outside: its console and its screen."""


class Image(enum.StrEnum):
    """The container image that holds a stage's program: a target of images/Containerfile."""

    PROVIDER = "provider"
    """The image of the source's kind, such as `vmware`."""
    DISK = "disk"
    SERVE = "serve"
    TARGET = "target"
    GUEST = "guest"
    """With libguestfs and its appliance."""


class Capability(enum.Enum):
    """What a target must support for a stage to apply."""

    PULLS = "fetches disks over HTTP"
    RUNS = "runs VMs"
    JUDGES = "says whether it would accept a VM before the VM is made"
    CLAIMS = "has the scratch of a run in claims, because the stages run as pods"


class Limit(enum.StrEnum):
    """A limit per source; its value is the last part of the limit's key in the limits' ConfigMap."""

    MACHINES = "machines"
    """VMs in transfer at the same time: off at the source and not yet imported. `in_transfer` counts here."""
    STREAMS = "streams"
    """Disks that are read at the same time."""


@dataclass(frozen=True)
class Retry:
    """How often and how soon a stage is retried after a temporary failure; times in seconds."""

    limit: int
    first: float = 10
    factor: float = 2
    cap: float = 60
    """A waiting retry keeps its lock, so it waits no longer than this."""

    def delay(self, attempt: int) -> float:
        """Seconds to wait before attempt number `attempt` (the first retry is 1)."""
        return min(self.cap, self.first * self.factor ** (attempt - 1))


@dataclass(frozen=True)
class Stage:
    """A row of the table."""

    name: str
    description: str
    after: tuple[str, ...]
    identity: Identity
    scope: Scope = Scope.MACHINE
    retry: Retry = Retry(limit=2)
    image: Image = Image.PROVIDER
    check: bool = False
    """It only reads: if it fails finally, nothing was changed, and the import is invalid."""
    gate: bool = False
    """Approval by a person instead of a program; skipped if the import asks for no approval."""
    in_transfer: bool = False
    """Part of the transfer, which counts against the source's limit of VMs."""
    credentials: bool = False
    """Whether the source's credentials are mounted. Such a program has no right on the cluster."""
    api: bool = False
    """Whether its program uses the Kubernetes API. No other program gets a token."""
    checks_source: bool = False
    """Whether `steps.unchanged` runs first: it proves that the VM was not started at its source."""
    scratch: bool = False
    """Whether the disk's scratch is mounted."""
    volume: bool = False
    """Whether it works on the disk itself: if disks land on their volumes, that volume is mounted, and
    scratch has only the records of the landing."""
    scratches: bool = False
    """Whether every disk of the VM is mounted: its scratch, or its volume with the records of the landing."""
    writes: bool = False
    """Whether such a stage changes the disks. Else they are mounted read-only."""
    guest_inputs: bool = False
    """Whether it gets the keys of encrypted devices, and the scripts for the first start."""
    asked: bool = False
    """Whether it runs only if the import asks for it (`steps.model.plan.Plan.asked_stages`)."""
    answer: str = ""
    """The controller answers instead of a program, with a text: the name of the output."""
    scratch_unless: Capability | None = None
    """If the target can do this, the parallel stage mounts scratch instead: a claim has one pod at a time."""
    address: bool = False
    """Whether the secret token of the disk's description is mounted."""
    weight: int = 0
    """Share of the disk's percentage; 0 for stages that take almost no time."""
    awaits: str = ""
    """A parallel stage of the same disk. The program waits for its success, so its own pod is ready then."""
    needs: Capability | None = None
    way: DiskWay | None = None
    """The stage is only for disks that get to the target in this way; None: for all."""
    mixed: bool = False
    """Whether its disks have different ways: a row of `admit` says which. Set by `stages_for`."""
    limit: Limit | None = None
    documents: tuple[str, ...] = ()
    """Results that the embedded runner adds to the request for the later stages."""
    publishes: tuple[str, ...] = ()
    """Documents that it adds to the request in a cluster, where pods mount them."""
    after_success: bool = False
    """At the end, and only if the import has succeeded."""
    outputs: tuple[str, ...] = ()
    """Small results that the Workflow's status keeps: files named after the result, also with a suffix."""

    @property
    def program(self) -> str:
        """Its module in the package `steps`."""
        return self.name.replace("-", "_")


NAME_CLAIMS: Final = "name-claims"
"""The stage in which the controller says what the stages with all disks mount (`workflows.mounts`)."""
CLAIMS: Final = "claims"
"""What it says, as an output of that stage and an input of those."""
STAGES: Final[tuple[Stage, ...]] = (
    Stage(
        "preflight",
        "Find the VM at its source and check that it can be imported",
        after=(),
        identity=Identity.DATA,
        check=True,
        credentials=True,
        documents=("machine.json",),
        outputs=("disks.json", MACHINE_OUTPUT),
    ),
    Stage(
        "admit",
        "Ask the target whether it would accept the VM and its disks",
        after=("preflight",),
        identity=Identity.TARGET,
        image=Image.TARGET,
        check=True,
        api=True,
        needs=Capability.JUDGES,
        documents=("volumes.json",),
        publishes=("machine.json", "volumes.json"),
        outputs=("admission.json", "disks.json", "volumes.json"),
    ),
    Stage(
        NAME_CLAIMS,
        "Wait until the controller has named the claims that a pod of all disks mounts",
        after=("admit",),
        identity=Identity.GUEST,
        asked=True,
        answer=CLAIMS,
        needs=Capability.CLAIMS,
    ),
    Stage(
        "approve-poweroff",
        "Wait for approval to shut down the VM",
        after=(NAME_CLAIMS,),
        identity=Identity.TARGET,
        gate=True,
    ),
    Stage(
        "poweroff",
        "Shut down the VM at its source",
        after=("approve-poweroff",),
        identity=Identity.DATA,
        in_transfer=True,
        credentials=True,
        retry=Retry(limit=3),
        documents=("power.json",),
        outputs=("power.json",),
    ),
    Stage(
        "export",
        "Copy the disk's content from the source, in the format in which it will be served",
        after=("poweroff",),
        identity=Identity.DATA,
        scope=Scope.DISK,
        in_transfer=True,
        credentials=True,
        scratch=True,
        volume=True,
        weight=70,
        limit=Limit.STREAMS,
        retry=Retry(limit=5),
    ),
    Stage(
        "convert",
        "Check the disk, and convert it if it is not in the format in which it will be served",
        after=("export",),
        identity=Identity.DATA,
        scope=Scope.DISK,
        image=Image.DISK,
        in_transfer=True,
        scratch=True,
        volume=True,
        weight=10,
    ),
    Stage(
        "inspect",
        "Look into the disks: the operating system, its drivers, what prevents a conversion",
        after=("convert",),
        identity=Identity.GUEST,
        image=Image.GUEST,
        in_transfer=True,
        volume=True,
        scratches=True,
        guest_inputs=True,
        asked=True,
        documents=("guest.json",),
        outputs=(GUEST_OUTPUT,),
    ),
    Stage(
        "adapt",
        "Change the guest on the disks so that it works in its new VM: drivers, names of NICs, boot loader",
        after=("inspect",),
        identity=Identity.GUEST,
        image=Image.GUEST,
        in_transfer=True,
        scratches=True,
        writes=True,
        guest_inputs=True,
        asked=True,
        documents=("guest.json", "adapted.json"),
    ),
    Stage(
        "serve",
        "Serve the disk with nginx until the target has downloaded it",
        after=("adapt",),
        identity=Identity.SERVE,
        scope=Scope.DISK,
        image=Image.SERVE,
        api=True,
        in_transfer=True,
        scratch=True,
        address=True,
        needs=Capability.PULLS,
        way=DiskWay.PULL,
        retry=Retry(limit=5),
    ),
    Stage(
        "image",
        "Create an image from the disk at the target and wait until it is ready",
        after=("adapt",),
        identity=Identity.TARGET,
        scope=Scope.DISK,
        image=Image.TARGET,
        api=True,
        in_transfer=True,
        scratch=True,
        scratch_unless=Capability.PULLS,
        address=True,
        weight=20,
        way=DiskWay.PULL,
        outputs=("image", "digest", "integrity", "volume"),
    ),
    Stage(
        "hand-over",
        "Hand the volume with the disk over to the namespace of the import",
        after=("export",),
        awaits="convert",
        identity=Identity.TARGET,
        scope=Scope.DISK,
        image=Image.TARGET,
        api=True,
        in_transfer=True,
        way=DiskWay.LAND,
        retry=Retry(limit=5),
        outputs=("integrity", "volume"),
    ),
    Stage(
        "build",
        "Create the VM from its disks",
        after=("image", "serve", "hand-over"),
        identity=Identity.TARGET,
        image=Image.TARGET,
        api=True,
        checks_source=True,
    ),
    Stage(
        "approve-start",
        "Wait for approval to start the VM",
        after=("build",),
        identity=Identity.TARGET,
        gate=True,
        needs=Capability.RUNS,
    ),
    Stage(
        "start",
        "Start the VM and wait until it is ready",
        after=("approve-start",),
        identity=Identity.TARGET,
        image=Image.TARGET,
        api=True,
        checks_source=True,
        needs=Capability.RUNS,
    ),
    Stage(
        "check",
        "Wait until the guest of the VM has booted",
        after=("start",),
        identity=Identity.BOOT,
        image=Image.TARGET,
        api=True,
        needs=Capability.RUNS,
        asked=True,
        outputs=(BOOTED,),
    ),
    Stage(
        "halt",
        "Stop the VM at the target before the VM at the source is started again",
        after=(),
        identity=Identity.TARGET,
        scope=Scope.EXIT,
        image=Image.TARGET,
        api=True,
        needs=Capability.RUNS,
        outputs=("remaining.json",),
    ),
    Stage(
        "release-source",
        "Release what this import still holds at the source, and start the VM there again if requested",
        after=("halt",),
        identity=Identity.DATA,
        scope=Scope.EXIT,
        credentials=True,
        outputs=(leftovers.OUTPUT, RESTORED),
    ),
    Stage(
        "delete-scratch",
        "Delete the scratch volumes of an import that has succeeded",
        after=("release-source",),
        identity=Identity.SCRATCH,
        scope=Scope.EXIT,
        image=Image.TARGET,
        api=True,
        after_success=True,
        needs=Capability.CLAIMS,
    ),
)

CHECKS: Final = frozenset(stage.name for stage in STAGES if stage.check)
"""Names of the stages that only read."""
SOURCE_CHECK: Final = "unchanged"
"""The program that runs before a stage with `checks_source`: of the source's image, with its credentials."""
CLEANUP: Final = "cleanup"
"""Name of the exit handler, which holds the stages that run at the end. Until 0.1 it was one stage."""
ADMIT: Final = "admit"
"""The stage in which the target judges the VM, the last one before anything changes."""
BUILD: Final = "build"
INSPECT: Final = "inspect"
HALT: Final = "halt"
"""The first stage at the end; not run after a success."""
CHECK: Final = "check"
"""The stage that proves that the guest has booted."""
RELEASE_SOURCE: Final = "release-source"
"""The stage that releases what is held at the source."""
EXIT_STAGES: Final = frozenset({CLEANUP, *(stage.name for stage in STAGES if stage.scope is Scope.EXIT)})
"""Names of what runs at the end, one after the other, also after a failure. It is never the cause of a failed
import."""
DEFAULT_LIMITS: Final[Mapping[Limit, int]] = {Limit.MACHINES: 2, Limit.STREAMS: 4}
"""The limits where nobody sets others: of the embedded runner, and of a source without keys in a cluster."""
CAPABILITIES: Final[dict[TargetKind, frozenset[Capability]]] = {
    TargetKind.DIRECTORY: frozenset(),
    TargetKind.HARVESTER: frozenset(Capability),
    TargetKind.KUBEVIRT: frozenset(Capability),
}


def stage_named(name: str) -> Stage:
    """The row of that name. Raises KeyError."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise KeyError(name)


def _row(name: str, **changes: Any) -> Stage:
    return replace(stage_named(name), **changes)


_IF_ALL_LAND: Final = (
    _row(
        "build",
        description="Create the stopped VM over the claims that its disks will have",
        after=("approve-poweroff",),
        in_transfer=True,
        checks_source=False,
    ),
    _row("approve-start", after=("build", "hand-over")),
)
"""Other rows for a VM whose disks all land on their volumes.

The names of its claims are known before, and the VM cannot run before `hand-over` has made them. So `build`
runs while the VM is shut down and its disks are copied, and costs no downtime.
"""
_IF_ASKED: Final = (_row("hand-over", after=("adapt",)),)
"""Other rows if a stage with all disks is asked for: the disks wait for each other. What it finds decides the
buses of the VM, so `build` comes after it in any case, and costs downtime."""


def stages_for(
    target: TargetKind,
    way: DiskWay = DiskWay.PULL,
    *,
    embedded: bool = False,
    asked: Collection[str] = (),
) -> tuple[Stage, ...]:
    """The rows that apply to a target and a way of its disks. Edges skip over the rows that do not apply.

    With `embedded`, the stages run as local processes, so scratch is in folders. `asked` are the stages that
    the import asks for (`Plan.asked_stages`): with those of the guest's system the disks wait for each other
    before they are handed on, and with `check` the import is complete only when its guest has booted.
    """
    able = CAPABILITIES[target] - ({Capability.CLAIMS} if embedded else set())
    ways = ways_of(way)
    landing = _IF_ALL_LAND if way is DiskWay.LAND else ()
    of_guest = any(stage_named(name).scratches for name in asked)
    others = _IF_ASKED if of_guest else landing
    rows = {stage.name: stage for stage in (*STAGES, *others)}
    wanted = {NAME_CLAIMS, *asked} if of_guest else set(asked)
    kept = [
        stage
        for stage in rows.values()
        if _applies(stage, able, ways) and (stage.name in wanted or not stage.asked)
    ]
    names = {stage.name for stage in kept}
    return tuple(_fit(stage, rows, names, able, ways) for stage in kept)


def ways_of(way: DiskWay) -> frozenset[DiskWay]:
    """The ways that single disks of a VM may have."""
    return frozenset({DiskWay.PULL, DiskWay.LAND}) if way is DiskWay.MIXED else frozenset({way})


def planned_names(
    target: TargetKind,
    way: DiskWay = DiskWay.PULL,
    *,
    embedded: bool = False,
    asked: Collection[str] = (),
) -> list[str]:
    """The stages of an import that succeeds, in order."""
    rows = stages_for(target, way, embedded=embedded, asked=asked)
    return [stage.name for stage in rows if stage.name != HALT]


def _applies(stage: Stage, able: frozenset[Capability], ways: frozenset[DiskWay]) -> bool:
    is_needed = stage.needs is None or stage.needs in able
    return is_needed and (stage.way is None or stage.way in ways)


def _fit(
    stage: Stage,
    rows: Mapping[str, Stage],
    names: set[str],
    able: frozenset[Capability],
    ways: frozenset[DiskWay],
) -> Stage:
    return replace(
        stage,
        after=tuple(sorted(_without_earlier(_nearest(stage.after, rows, names), rows, names))),
        scratch=stage.scratch and stage.scratch_unless not in able,
        volume=stage.volume and DiskWay.LAND in ways,
        mixed=stage.scope is Scope.DISK and len(ways) > 1,
    )


def _without_earlier(after: set[str], rows: Mapping[str, Stage], names: set[str]) -> set[str]:
    """The predecessors without those that another one of them waits for."""
    return after - {earlier for name in after for earlier in _all_before(name, rows, names)}


def _all_before(name: str, rows: Mapping[str, Stage], names: set[str]) -> set[str]:
    direct = _nearest(rows[name].after, rows, names)
    return direct | {earlier for one in direct for earlier in _all_before(one, rows, names)}


def _nearest(after: Iterable[str], rows: Mapping[str, Stage], names: set[str]) -> set[str]:
    """The remaining predecessors: an omitted stage is replaced by its own predecessors."""
    remaining: set[str] = set()
    for name in after:
        remaining |= {name} if name in names else _nearest(rows[name].after, rows, names)
    return remaining
