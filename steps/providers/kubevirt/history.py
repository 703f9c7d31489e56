"""The power history of a VM on KubeVirt: whether it has run since a moment, and who asked for its shutdown.

KubeVirt keeps no log. But its condition Ready changes each time an instance of the VM appears or goes, and
only then; it is (False, VMINotExists) with the time of that change while there is none (virt-controller, KV
pkg/virt-controller/watch/vm/vm.go, syncReadyConditionFromVMI, and pkg/controller/conditions.go). So a VM
that was started and is off again has another time there. The account that asked for a shutdown is not
recorded: an annotation of ours says that the import did, of which instance, and how the VM is to run again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from steps.model.contract import StepError
from steps.model.kinds import GROUP
from steps.model.machine import Machine
from steps.model.power import PowerMark
from steps.providers.kubevirt import find
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.api import Api

SHUTDOWN: Final = f"{GROUP}/shutdown"
"""Annotation of a VM that an import has shut down."""
NO_INSTANCE: Final = "VMINotExists"
"""Reason of the condition Ready of a VM without an instance."""
FINAL_PHASES: Final = ("Succeeded", "Failed")
"""Phases of an instance whose guest runs no more (KV VirtualMachineInstance.IsFinal)."""
STAYS_FINAL: Final = ("Manual", "Once")
"""Run strategies under which an instance that has ended stays, and no other is started."""
STARTS: Final = ("Always", "Once")
"""Run strategies under which a VM without an instance is started (KV vm.go, syncRunStrategy)."""


@dataclass(frozen=True)
class State:
    """A VM and its instance at one moment."""

    vm: Answer
    instance: Answer | None

    @property
    def run_strategy(self) -> str:
        """spec.runStrategy, or what spec.running means (KV VirtualMachine.RunStrategy)."""
        spec = self.vm.child("spec")
        if spec.has("running"):
            return "Always" if spec.flag("running") else "Halted"
        return spec.text("runStrategy") or "Halted"

    @property
    def phase(self) -> str:
        """The phase of the instance; "" without one."""
        return "" if self.instance is None else self.instance.text("status", "phase") or "Pending"

    @property
    def has_ended(self) -> bool:
        """Whether no guest runs: there is no instance, or its guest has ended."""
        return self.instance is None or self.phase in FINAL_PHASES

    @property
    def is_on(self) -> bool:
        """Whether a guest runs, or KubeVirt is about to start one."""
        if not self.has_ended:
            return True
        if self._has_request("Start"):
            return True
        if self.instance is not None:  # the instance has ended; KubeVirt may start another one
            is_failed = self.phase == "Failed" and not self.instance.is_deleting
            return self.run_strategy == "Always" or (self.run_strategy == "RerunOnFailure" and is_failed)
        return self.run_strategy in STARTS

    @property
    def is_stopping(self) -> bool:
        """Whether a shutdown was requested: KubeVirt deletes the instance then."""
        if self.instance is None:
            return False
        return self.instance.is_deleting or self.run_strategy == "Halted" or self._has_request("Stop")

    @property
    def is_settled(self) -> bool:
        """Whether the VM is off, and its status shows that already: nothing changes by itself any more."""
        if self.is_on:
            return False
        if self.instance is None:
            return self.ready.text("reason") == NO_INSTANCE
        return self.run_strategy in STAYS_FINAL and not self.instance.is_deleting

    @property
    def may_rest(self) -> bool:
        """Whether the VM is off, but its instance is there: a version before 1.8 of KubeVirt keeps it."""
        has_ended = self.instance is not None and not self.instance.is_deleting
        return has_ended and not self.is_on and self.run_strategy == "RerunOnFailure"

    @property
    def ready(self) -> Answer:
        """The condition Ready of the VM."""
        return self.vm.condition("Ready")

    @property
    def position(self) -> str:
        """The place in the history: an instance, or the time since when there is none. "" if unknown."""
        if self.instance is not None:
            return f"instance {self.instance.uid}" + (" ended" if self.has_ended else "")
        since = self.ready.text("lastTransitionTime")
        return f"off {since}" if since and self.ready.text("reason") == NO_INSTANCE else ""

    def _has_request(self, action: str) -> bool:
        requests = self.vm.child("status").elements("stateChangeRequests")
        return any(request.text("action") == action for request in requests)


@dataclass(frozen=True)
class Shutdown:
    """Our annotation of a VM: a shutdown that an import asked for."""

    run: str
    """The run of the import."""
    instance: str
    """uid of the instance that was to end; "" if there was none yet."""
    run_strategy: str
    """How the VM was to run before."""
    position: str = ""
    """Where the VM came to rest (`State.position`); "" until that was seen."""

    @classmethod
    def of(cls, vm: Answer) -> Shutdown | None:
        """The annotation; None if there is none, or a person wrote something else."""
        try:
            found = json.loads(vm.annotation(SHUTDOWN) or "null")
            texts = {str(key): str(value) for key, value in found.items()}
            return cls(**texts)
        except (ValueError, TypeError, AttributeError, RecursionError, StepError):
            return None

    def at(self, position: str) -> Shutdown:
        """The same, with the place where the VM came to rest."""
        return replace(self, position=position)

    def annotation(self) -> dict[str, Any]:
        """metadata.annotations that say this."""
        return {SHUTDOWN: json.dumps(asdict(self), sort_keys=True)}


def state(source: Api, machine: Machine) -> State:
    """The VM of an import as it is now. Raises StepError: NOT_FOUND, if it was deleted."""
    namespace, name = find.place_of(machine)
    # The instance first: a VM whose status shows no instance cannot have had one that was read before.
    instance = find.instance_of(source, namespace, name)
    return State(find.current(source, machine), instance)


def mark(source: Api, machine: Machine) -> PowerMark:
    """The present moment. Raises StepError: NOT_FOUND, if the VM was deleted."""
    now = state(source, machine)
    return PowerMark(
        time=now.ready.text("lastTransitionTime"),
        server=now.vm.uid,
        position=now.position,
        position_time=now.ready.text("lastTransitionTime"),
        scope="vm",
    )


def started_since(source: Api, machine: Machine, mark: PowerMark) -> str | None:
    """Why the VM may have run since the mark, which was made when it was off; None if it has not.

    Raises:
        StepError: NOT_FOUND, if it was deleted.
    """
    now = state(source, machine)
    if now.vm.uid != mark.server:
        return "another VM has its name"
    if now.is_on:
        return f"it is {now.vm.text('status', 'printableStatus') or now.phase or 'about to start'}"
    if not mark.position or now.position != mark.position:
        return f"it stopped again at {now.ready.text('lastTransitionTime') or 'an unknown time'}"
    return None


def shut_down_since(source: Api, run: str, machine: Machine, mark: PowerMark) -> bool:
    """Whether this run asked for a shutdown since the mark, and nobody started the VM after that.

    A run that was killed before it saw the VM at rest has not noted where that was. Then the shutdown counts
    as its own.
    """
    now = state(source, machine)
    noted = Shutdown.of(now.vm)
    if noted is None or noted.run != run or mark.server != now.vm.uid:
        return False
    if not now.has_ended:
        return now.instance is not None and now.instance.uid == noted.instance and now.is_stopping
    return noted.position in ("", now.position)
