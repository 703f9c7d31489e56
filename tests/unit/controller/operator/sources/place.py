"""A source, the controller that checks it in pods, a stand-in for the kubelet, and a clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from controller.operator.checkpods.check import Owner
from controller.operator.checkpods.runner import CheckPods
from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources.reconcile import SourceReconciler
from steps.model.kinds import SOURCES, Object
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from tests.unit.controller.operator.kubelet import (
    Container,
    Exited,
    FakeNode,
    Files,
    Kubelet,
    Runtime,
    Scripted,
    credential,
    request,
)
from tests.unit.controller.operator.world import World
from workflows.api.status import SourceStatus

VMWARE: Final = SOURCES[SourceKind.VMWARE]
KEY: Final = SourceKey(VMWARE, "default", "vcenter")
READY: Final = Exited(0)
DENIED: Final = Exited(11, "the password is wrong")
UNREACHABLE: Final = Exited(30, "nobody answers")


class Place:
    """See above. Every check ends at once with `answer`; None: it runs on."""

    def __init__(self, answer: Exited | None = READY, runtime: Runtime | None = None, **options: Any) -> None:
        self.world, self.answer = World(), answer
        self.world.set_source("")
        self.options = Options(**options)
        self.attempts: list[tuple[str, bytes]] = []
        """The name of the source and the password of each attempt."""
        scripted = Scripted(lambda *_: self.answer)

        def start(pod: Object, files: Files) -> Container:
            name = SourcePlan.model_validate_json(request(files)).name
            self.attempts.append((name, credential(files, "password")))
            return (runtime or scripted)(pod, files)

        self.cluster = self.world.cluster
        self.kubelet = Kubelet(FakeNode(self.cluster), start, self._seconds)
        self.due: dict[SourceKey, float] = {}
        self.restart()

    def restart(self) -> None:
        """A new process: it knows only what is in the cluster."""
        self.checks = CheckPods(self.cluster, self.options, self._requeue, self._seconds)
        self.reconciler = SourceReconciler(self.cluster, self.options, self.checks, lambda: self.world.now)

    def step(self, key: SourceKey = KEY) -> float | None:
        """One reconcile; then the kubelet and the poll of the pods do what they have to do."""
        again = self.reconciler.reconcile(key)
        self.kubelet.sync()
        self.checks.poll()
        return again

    def look(self, later: float = 0, key: SourceKey = KEY) -> float | None:
        """Reconcile until nothing is due now."""
        self.world.now += timedelta(seconds=later)
        again = self.step(key)
        while self.due.pop(key, None) is not None:
            again = self.step(key)
        return again

    def wait(self, seconds: float, *keys: SourceKey) -> None:
        """Reconcile the sources whenever they ask for it, for so many seconds."""
        end = self._seconds() + seconds
        self.due = dict.fromkeys(keys or (KEY,), self._seconds())
        while (key := min(self.due, key=lambda one: self.due[one])) and self.due[key] <= end:
            self.world.now += timedelta(seconds=max(0.0, self.due.pop(key) - self._seconds()))
            again = self.step(key)
            self.due[key] = min(self.due.get(key, end + 1), self._seconds() + (again or 1))
        self.world.now += timedelta(seconds=end - self._seconds())
        self.due = {}

    @property
    def raw(self) -> Object:
        found = self.cluster.peek(VMWARE, "vcenter", "default")
        assert found is not None
        return found

    @property
    def status(self) -> SourceStatus:
        return SourceStatus.read(self.raw.get("status"))

    def another_source(self, name: str, namespace: str = "default", **spec: Any) -> SourceKey:
        """One more source with the same Secret."""
        metadata = {"name": name, "namespace": namespace, "generation": 1}
        self.cluster.put(
            {**self.raw, "metadata": metadata, "spec": {**self.raw["spec"], **spec}, "status": {}}
        )
        return SourceKey(VMWARE, namespace, name)

    def _seconds(self) -> float:
        return self.world.now.timestamp()

    def _requeue(self, owner: Owner) -> None:
        self.due[SourceKey(*owner)] = self._seconds()
