"""A stand-in for KubeVirt with guests: instances, launcher pods, consoles, counters, screens.

It follows virt-controller: a VM that is not Halted gets an instance and a pod; a halted one loses both after
a while. What the guest does depends on the bus of its first disk, as with drivers that an initramfs lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import INSTANCE, MACHINE, POD, Object
from steps.model.vm_counters import Counters
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.stand_ins import FakeTime

PNG: Final = b"\x89PNG\r\n\x1a\nthe screen"
ALERT: Final = (
    "Loading, please wait...\nALERT!  UUID=2f1d does not exist.  Dropping to a shell!\n(initramfs) "
)
LOGIN: Final = "Debian GNU/Linux 12 web ttyS0\n\nweb login: "


@dataclass(frozen=True)
class Behaviour:
    """What a guest does, by the seconds since its start."""

    read: float = 60e6
    written: float = 2e6
    sent: int = 5
    lasts: float = 40
    """Seconds until it has done all of that."""
    console: str = ""
    """What it says from then on."""
    agent: bool = False

    def counters(self, seconds: float) -> Counters:
        share = min(1.0, seconds / self.lasts)
        return Counters(int(share * self.read), int(share * self.written), int(share * self.sent))


BOOTS: Final = Behaviour()
WITH_AGENT: Final = Behaviour(agent=True)
SILENT: Final = Behaviour(sent=0)
STUCK: Final = Behaviour(read=20e6, written=0, sent=0, lasts=15)
IN_SHELL: Final = Behaviour(read=20e6, written=0, sent=0, lasts=15, console=ALERT)


@dataclass
class Guests:
    """See above. `behaviours` by bus."""

    cluster: FakeCluster
    time: FakeTime
    behaviours: Mapping[str, Behaviour]
    stop_seconds: float = 20
    """How long a guest ignores the power button."""
    grace: int = 180
    """terminationGracePeriodSeconds of every instance."""
    visible: bool = True
    """Whether the metrics show the counters."""
    starts: list[tuple[str, str]] = field(default_factory=list)
    """Name and bus at each start."""
    before_look: list[Callable[[], None]] = field(default_factory=list)
    """What somebody does while the check looks: called at every read of counters."""

    def __post_init__(self) -> None:
        self._running: dict[str, tuple[str, float]] = {}
        self._halted: dict[str, float] = {}
        self.cluster.reconcilers.append(lambda _: self._reconcile())

    # --- the counters, as virt-handler exports them

    def counters_of(self, instance: Object) -> Counters:
        for somebody in self.before_look:
            somebody()
        name = instance["metadata"]["name"]
        if not self.visible or name not in self._running:
            raise StepError(Exit.UNREACHABLE, "the metrics do not show the VM", "there is no route")
        return self._behaviour(name).counters(self._age(name))

    def restart(self, name: str) -> None:
        """The VM has crashed, and KubeVirt starts it again."""
        self._delete(name)

    # --- inside

    def _reconcile(self) -> None:
        alive = {vm["metadata"]["name"]: vm for vm in self.cluster.all(MACHINE, "default")}
        for name in [name for name in self._running if name not in alive]:
            self._delete(name)
        for name, vm in alive.items():
            self._advance(name, vm)

    def _advance(self, name: str, vm: Object) -> None:
        wanted = vm["spec"].get("runStrategy") != "Halted"
        if wanted and name not in self._running:
            self._create(name, vm)
        elif not wanted and name in self._running:
            since = self._halted.setdefault(name, self.time.now)
            if self.time.now - since >= self.stop_seconds:
                self._delete(name)
        runs = name in self._running
        vm["status"] = {"created": runs, "ready": runs, "printableStatus": "Running" if runs else "Stopped"}
        if runs:
            self._write(name)

    def _create(self, name: str, vm: Object) -> None:
        uid = f"instance-{len(self.starts)}"
        self._halted.pop(name, None)
        bus = vm["spec"]["template"]["spec"]["domain"]["devices"]["disks"][0]["disk"]["bus"]
        self._running[name] = (bus, self.time.now)
        self.starts.append((name, bus))
        metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": uid}
        spec = {"terminationGracePeriodSeconds": self.grace}
        kind = {"apiVersion": INSTANCE.api_version, "kind": INSTANCE.kind}
        self.cluster.put({**kind, "metadata": metadata, "spec": spec})
        pod = {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {
                "name": f"virt-launcher-{name}-{uid}",
                "namespace": "default",
                "labels": {"kubevirt.io/created-by": uid},
            },
            "spec": {"containers": [{"name": "compute"}, {"name": "guest-console-log"}]},
            "status": {"phase": "Running", "podIP": "10.52.0.9"},
        }
        self.cluster.put(pod)
        self.cluster.contents["default", name, "vnc/screenshot"] = PNG

    def _delete(self, name: str) -> None:
        instance = self.cluster.peek(INSTANCE, name, "default")
        if instance is not None:
            uid = instance["metadata"]["uid"]
            self.cluster.drop(POD, f"virt-launcher-{name}-{uid}", "default")
            self.cluster.drop(INSTANCE, name, "default")
        self._running.pop(name, None)
        self.cluster.contents.pop(("default", name, "vnc/screenshot"), None)

    def _write(self, name: str) -> None:
        behaviour, age = self._behaviour(name), self._age(name)
        done = age >= behaviour.lasts
        instance = self.cluster.peek(INSTANCE, name, "default")
        assert instance is not None
        agent = "True" if behaviour.agent and done else "False"
        instance["status"] = {
            "phase": "Running",
            "nodeName": "node-1",
            "conditions": [{"type": "AgentConnected", "status": agent}],
            "interfaces": [{"ipAddresses": ["192.0.2.10", "not an address"]}],
        }
        pod = f"virt-launcher-{name}-{instance['metadata']['uid']}"
        console = behaviour.console if done else ""
        self.cluster.logs["default", pod] = f"[    0.000000] Linux version 6.1.0\n{console}"

    def _behaviour(self, name: str) -> Behaviour:
        return self.behaviours[self._running[name][0]]

    def _age(self, name: str) -> float:
        return self.time.now - self._running[name][1]
