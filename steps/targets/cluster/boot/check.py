"""The boot check of one VM. Every request may be the last one of this process: the next attempt goes on.

The annotation `markers.BOOT_CHECK` on the VM says how far it is. Each value is written together with the
change that it stands for, in one request, and only to the version of the VM that was read:

    built-DIGEST    the VM runs as it was built; `start` writes it, and it goes once the guest has booted
    falling-back    it did not boot and is being stopped; its devices are still as built
    on-sata         it has SATA disks and e1000e NICs
    failed[-on-sata]  it did not boot and was stopped for good; it is no longer handed over to its owner

The VM is never deleted: it may own its disks. A VM that a person has changed or stopped is left alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from steps.model.booting import (
    LONGEST_MESSAGE,
    BootResult,
    History,
    Judged,
    Rules,
    Verdict,
    judge,
    limit,
)
from steps.model.contract import Exit, StepError
from steps.model.kinds import INSTANCE, MACHINE, Object
from steps.model.mapping import Shape
from steps.model.plan import BootCheckPlan, Plan
from steps.model.vm_fields import HALTED, run_strategy
from steps.runtime.cluster import ChangedError, Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.boot import fallback
from steps.targets.cluster.boot.counters import CounterReader
from steps.targets.cluster.boot.evidence import Connects, Witness
from steps.targets.cluster.boot.kept import Keeper
from steps.targets.cluster.halting import HALT_SECONDS, await_stopped
from steps.targets.cluster.mac_conflict import explain_mac_conflict
from steps.targets.cluster.ownership import MAX_TRIES, annotations_of
from steps.targets.cluster.vm_objects import REBUILD_REMEDY, STALE_REASON, VmObjects, describe_vm_status

log = structlog.get_logger()

FALLING_BACK: Final = markers.FALLING_BACK
ON_SATA: Final = "on-sata"
FAILED: Final = "failed"
FAILED_ON_SATA: Final = "failed-on-sata"
LOOK_SECONDS: Final = 5.0
"""Between two looks."""
LONGEST_GRACE: Final = 3600.0
"""Seconds of grace that a VM is given to stop: KubeVirt's preferences give Windows an hour."""
SLACK_SECONDS: Final = 60.0
CHANGED: Final = "somebody has changed or stopped the VM since it was started"

MakeChange = Callable[[Object], Object | None]
"""The change of a VM as it is now; None if there is nothing to change (any more)."""


@dataclass(frozen=True)
class Aids:
    """How the check looks at the VM, and where it keeps what it saw."""

    counters: CounterReader
    keeper: Keeper
    connects: Connects | None = None
    clock: Callable[[], float] = time.monotonic


class BootCheck:
    """Checks the VM of one import, and changes it at most once."""

    def __init__(self, plan: Plan, cluster: Cluster, stop: Stop, vm_objects: VmObjects, aids: Aids) -> None:
        self._plan = plan
        self._wanted = plan.boot_check or BootCheckPlan()
        self._cluster = cluster
        self._stop = stop
        self._vms = vm_objects
        self._aids = aids
        self._clock = aids.clock
        self._namespace = plan.target.namespace

    def run(self, shape: Shape) -> BootResult:
        """Judge the guest; fall back to SATA once if it does not boot; stop the VM if that does not help.

        A VM that has booted, or about which nothing is known, is released: it belongs to its owner then.

        Raises:
            StepError: INVALID, if the VM was deleted; STALE; UNREACHABLE, if it is not ready in time; BUSY,
                if it does not stop in time; the errors of the API.
        """
        if not shape.start:
            return BootResult(verdict=Verdict.NOT_STARTED, message=f"{shape.name} is not started")
        self._resume(shape)
        result = self._judged(shape)
        if result.verdict is Verdict.STUCK and self._falls_back(shape, result):
            result = self._judged(shape)
        if result.verdict is Verdict.STUCK:
            return self._give_up(shape, result)
        self._change(shape, _without_built)
        self._vms.release(shape)
        return result

    # --- an earlier attempt

    def _resume(self, shape: Shape) -> None:
        """Go on where an earlier attempt ended, or begin again after one that had given up."""
        vm = self._vms.require_vm(shape.name)
        if markers.STALE in annotations_of(vm):
            raise StepError(Exit.STALE, f"VM {shape.name} is stale", STALE_REASON, REBUILD_REMEDY)
        if _mark(vm) == FALLING_BACK:
            self._finish_fall_back(shape)
        elif _mark(vm) in (FAILED, FAILED_ON_SATA):
            self._start_again(shape)

    def _start_again(self, shape: Shape) -> None:
        """A person has asked for another try of a guest that did not boot."""
        if self._vms.require_vm(shape.name)["spec"].get("runStrategy") == HALTED:
            self._await_stopped(shape)

        def change(vm: Object) -> Object | None:
            if _mark(vm) not in (FAILED, FAILED_ON_SATA):
                return None
            built = f"{markers.BUILT}{fallback.devices_digest(vm)}"
            before = ON_SATA if _mark(vm) == FAILED_ON_SATA else built
            notes = {markers.BOOT_CHECK: before, markers.HANDED_OVER: "started"}
            halted = vm["spec"].get("runStrategy") == HALTED
            start = {"runStrategy": run_strategy(shape)} if halted else {}
            return {"metadata": {"annotations": notes}, "spec": start}

        log.info(f"VM {shape.name} is started again for another boot check")
        self._change(shape, change)
        self._vms.wait_ready(shape)

    # --- the judgement

    def _judged(self, shape: Shape) -> BootResult:
        """Look until there is a verdict, and keep what was seen."""
        rules = Rules(
            seconds=limit(self._wanted.timeout_seconds, windows=shape.windows),
            has_nic=any(one.connected for one in shape.interfaces),
            wants_port=self._wanted.tcp_port is not None,
        )
        witness = Witness(self._cluster, self._wanted, self._aids.counters, self._aids.connects)
        watch = _Watch(self._clock())
        while True:
            vm = self._vms.require_vm(shape.name)
            instance = self._instance(shape)
            judged = self._judge_now(vm, instance, witness, watch, rules)
            if judged is not None:
                return self._kept(shape, vm, instance, witness, watch, judged)
            self._stop.sleep(LOOK_SECONDS)

    def _judge_now(
        self, vm: Object, instance: Object | None, witness: Witness, watch: _Watch, rules: Rules
    ) -> Judged | None:
        if vm["spec"].get("runStrategy") == HALTED:
            return Judged(verdict=Verdict.UNKNOWN, why=CHANGED)
        now = self._clock()
        if instance is None:
            if now - watch.began < rules.seconds:
                return None
            state = describe_vm_status(vm.get("status") or {})
            return Judged(verdict=Verdict.UNKNOWN, why=f"the VM does not run: {state}")
        watch.see(instance["metadata"]["uid"], now)
        if now - watch.began >= 2 * rules.seconds:
            why = f"the VM was started {watch.instances} times, so no boot could be followed to its end"
            return Judged(verdict=Verdict.UNKNOWN, why=why)
        look = witness.look(instance, now - watch.since)
        watch.history = watch.history.after(look)
        return judge(watch.history, rules)

    def _instance(self, shape: Shape) -> Object | None:
        """The running instance of the VM."""
        found = self._cluster.get(INSTANCE, shape.name, self._namespace)
        phase = ((found or {}).get("status") or {}).get("phase")
        return found if phase == "Running" else None

    def _kept(
        self,
        shape: Shape,
        vm: Object,
        instance: Object | None,
        witness: Witness,
        watch: _Watch,
        judged: Judged,
    ) -> BootResult:
        """The result, after the screenshot and the console are kept; that never fails the check."""
        fell_back = _mark(vm) in (ON_SATA, FAILED_ON_SATA)
        picture = witness.screenshot(instance) if instance else b""
        kept_in = ""
        try:
            kept_in = self._aids.keeper.keep("sata" if fell_back else "built", witness.console, picture)
        except (StepError, OSError) as error:
            log.warning(f"the screenshot and the console could not be kept: {error}")
        sata = ", with SATA disks and e1000e NICs" if fell_back else ""
        result = BootResult(
            verdict=judged.verdict,
            message=f"{judged.why}{sata}"[:LONGEST_MESSAGE],
            fell_back=fell_back,
            seconds=int(self._clock() - watch.began),
            evidence=witness.evidence(instance, watch.history.look),
            kept_in=kept_in,
        )
        log.info(f"{shape.name}: {result.verdict}: {result.message}")
        return result

    # --- SATA

    def _falls_back(self, shape: Shape, result: BootResult) -> bool:
        """Stop the VM, give it SATA, start it again; False if that must not or cannot help."""
        if not self._wanted.fall_back or result.fell_back:
            return False

        def change(vm: Object) -> Object | None:
            if not fallback.is_as_built(vm, _mark(vm), shape) or fallback.with_sata(vm) is None:
                return None
            notes = {markers.BOOT_CHECK: FALLING_BACK}
            return {"metadata": {"annotations": notes}, "spec": {"running": None, "runStrategy": HALTED}}

        changed = self._change(shape, change)
        if (
            not changed and _mark(self._vms.require_vm(shape.name)) != FALLING_BACK
        ):  # else the answer was lost
            log.info(f"VM {shape.name} is not changed to SATA: it has it already, or somebody changed the VM")
            return False
        log.warning(f"{shape.name} does not boot ({result.message}); it gets SATA disks and e1000e NICs")
        self._finish_fall_back(shape)
        return True

    def _finish_fall_back(self, shape: Shape) -> None:
        vm = self._vms.require_vm(shape.name)
        if vm["spec"].get("runStrategy") == HALTED:
            self._await_stopped(shape)

        def change(vm: Object) -> Object | None:
            if _mark(vm) != FALLING_BACK:
                return None
            if vm["spec"].get("runStrategy") != HALTED:  # a person has started it: it is theirs
                return {"metadata": {"annotations": {markers.BOOT_CHECK: None}}}
            template = fallback.with_sata(vm)
            return {
                "metadata": {"annotations": {markers.BOOT_CHECK: ON_SATA}},
                "spec": {
                    "runStrategy": run_strategy(shape),
                    **({"template": template} if template else {}),
                },
            }

        with explain_mac_conflict(shape):
            self._change(shape, change)
        self._vms.wait_ready(shape)

    # --- the end of a guest that does not boot

    def _give_up(self, shape: Shape, result: BootResult) -> BootResult:
        """Stop the VM: a guest in an emergency shell must not look like one that works."""

        def change(vm: Object) -> Object | None:
            if _mark(vm) in (FAILED, FAILED_ON_SATA) or vm["spec"].get("runStrategy") == HALTED:
                return None
            mark = FAILED_ON_SATA if result.fell_back else FAILED
            # `build` of a later run makes it again, as nobody has got it.
            notes = {markers.BOOT_CHECK: mark, markers.HANDED_OVER: None}
            return {"metadata": {"annotations": notes}, "spec": {"running": None, "runStrategy": HALTED}}

        self._change(shape, change)
        try:
            self._await_stopped(shape)
        except StepError as error:
            if error.code is not Exit.BUSY:
                raise
            log.warning(f"{error}")
            return result.model_copy(update={"message": f"{result.message}; the VM does not stop"})
        return result

    def _await_stopped(self, shape: Shape) -> None:
        """KubeVirt ends a guest that ignores the power button, as a stuck one does, after its grace."""
        instance = self._cluster.get(INSTANCE, shape.name, self._namespace) or {}
        grace = (instance.get("spec") or {}).get("terminationGracePeriodSeconds") or 0
        seconds = max(HALT_SECONDS, min(grace, LONGEST_GRACE) + SLACK_SECONDS)
        await_stopped(*(self._cluster, shape.name, self._namespace, self._stop, self._clock), seconds=seconds)

    def _change(self, shape: Shape, make: MakeChange) -> bool:
        """Change the VM as it is now, even if others write to it; False if there was nothing to change.

        Raises:
            StepError: BUSY, if others change it all the time.
        """
        for _ in range(MAX_TRIES):
            vm = self._vms.require_vm(shape.name)
            change = make(vm)
            if change is None:
                return False
            metadata = {**change["metadata"], "resourceVersion": vm["metadata"]["resourceVersion"]}
            with contextlib.suppress(ChangedError):
                self._cluster.patch(MACHINE, shape.name, {**change, "metadata": metadata}, self._namespace)
                return True
        raise StepError(Exit.BUSY, f"VM {self._namespace}/{shape.name} keeps changing")


@dataclass
class _Watch:
    """How long the check has watched, and the instance that it watches."""

    began: float
    since: float = 0.0
    """When the instance was first seen running."""
    uid: str = ""
    instances: int = 0
    history: History = field(default_factory=History)

    def see(self, uid: str, now: float) -> None:
        """An instance is another boot: KubeVirt starts one if the VM has crashed."""
        if uid != self.uid:
            self.uid, self.since, self.history = uid, now, History()
            self.instances += 1


def _mark(vm: Object) -> str:
    return annotations_of(vm).get(markers.BOOT_CHECK, "")


def _without_built(vm: Object) -> Object | None:
    """The VM is complete: it needs no mark of its start."""
    if not _mark(vm).startswith(markers.BUILT):
        return None
    return {"metadata": {"annotations": {markers.BOOT_CHECK: None}}}
