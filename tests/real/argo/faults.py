"""Makes each stage of an import fail permanently, and removes the cause again.

There is one fault per stage, a context manager. It is in force from the time that `Moment` names until it is
healed, and it is always removed afterwards. Where the source or the target can refuse, they refuse. An
admission policy refuses the pods of `convert` and `serve`, as nothing else outside can make these stages
fail.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import MACHINE, Object
from tests.real.argo.ground import RELEASE, Ground, eventually
from tests.real.argo.test_retry import COUNTED_CLAIMS, no_room
from tests.real.argo.world import Imported, World

WORDS: Final = "refused by the test's own policy"
ALWAYS: Final = 1000
"""How often a fault of the simulated vCenter fires: until it is healed."""


class Moment(enum.Enum):
    """When a fault takes effect."""

    BEFORE = "before the import is applied"
    CHECKED = "after every check, before power-off"


@dataclass(frozen=True)
class Scene:
    """An import that will fail."""

    ground: Ground
    world: World
    vm: str
    disks: int

    @property
    def imported(self) -> Imported:
        return Imported(self.ground, self.world.namespace, self.vm)

    @property
    def disk(self) -> str:
        """The disk whose stage fails; the others succeed."""
        return f"disk-{self.disks - 1}"


@dataclass(frozen=True)
class Broken:
    """A fault that is in force."""

    heal: Callable[[], None]
    """Remove the cause. May be called twice."""
    meanwhile: Callable[[], None] = lambda: None
    """The action to take when the import continues."""


Fault = Callable[[Scene], AbstractContextManager[Broken]]


# --- faults of the source


@contextmanager
def without_tools(scene: Scene) -> Iterator[Broken]:
    """The guest cannot be asked to shut down: `preflight` and `poweroff` refuse the VM."""
    scene.world.simulator.set_vm(scene.vm, tools="notRunning")
    yield Broken(lambda: scene.world.simulator.set_vm(scene.vm, tools="running"))


@contextmanager
def no_export(scene: Scene) -> Iterator[Broken]:
    """The account may not export. With several disks, only the last one is still unread at that time."""
    simulator = scene.world.simulator

    def forbid() -> None:
        simulator.faults(exportFault="NoPermission", times=ALWAYS)

    def forbid_late() -> None:
        eventually(lambda: simulator.held(0), scene.imported.describe)
        others = scene.disks - 1
        eventually(
            lambda: len(scene.imported.leaf("convert", "Succeeded")) == others, scene.imported.describe
        )
        forbid()
        simulator.faults(expireLease="now")

    if scene.disks == 1:
        forbid()
        yield Broken(simulator.clear)
    else:
        simulator.faults(pauseAt=65536, disk=scene.disk)
        yield Broken(simulator.clear, meanwhile=forbid_late)
    simulator.clear()


# --- faults of the target


@contextmanager
def no_image(scene: Scene) -> Iterator[Broken]:
    """A quota allows all images but one."""
    with no_room(scene.ground, scene.world.namespace, scene.disks - 1) as give_room:
        yield Broken(give_room)


@contextmanager
def no_claim(scene: Scene) -> Iterator[Broken]:
    """A quota allows the claims of all disks but one."""
    with no_room(scene.ground, scene.world.namespace, scene.disks - 1, COUNTED_CLAIMS) as give_room:
        yield Broken(give_room)


@contextmanager
def name_taken(scene: Scene) -> Iterator[Broken]:
    """A VM that the import does not own has the name."""
    scene.ground.apply(a_foreign_vm(scene.world.namespace, scene.vm))

    def heal() -> None:
        found = scene.ground.cluster.get(MACHINE, scene.vm, scene.world.namespace)
        if found and names.LABEL_UID not in (found["metadata"].get("labels") or {}):
            scene.ground.cluster.delete(MACHINE, scene.vm, scene.world.namespace)
            eventually(
                lambda: scene.ground.cluster.get(MACHINE, scene.vm, scene.world.namespace) is None,
                "the foreign VM to go",
                60,
            )

    yield Broken(heal)


@contextmanager
def no_start(scene: Scene) -> Iterator[Broken]:
    """No VM may be started in the namespace."""
    rule = {
        "resourceRules": [_rule("kubevirt.io", "virtualmachines", "UPDATE"), _PROBED],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.world.namespace}},
    }
    halted = "object.kind == 'VirtualMachine' && object.spec.runStrategy == 'Halted'"
    name = f"no-start-{scene.world.namespace}"
    with policy(scene.ground, name, rule, halted, scene.world.namespace, {}) as heal:
        yield Broken(heal)


def a_foreign_vm(namespace: str, name: str) -> Object:
    """A halted VM that no import made."""
    domain = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}, "volumes": []}
    return {
        "apiVersion": MACHINE.api_version,
        "kind": MACHINE.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"runStrategy": "Halted", "template": {"spec": domain}},
    }


# --- faults between source and target


def no_pod(stage: str) -> Fault:
    """The cluster refuses one stage's pod, for the last disk only."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[Broken]:
        run = scene.imported.run
        labels = {names.LABEL_RUN: run, names.LABEL_STAGE: stage, names.LABEL_DISK: scene.disk}
        rule = {
            "resourceRules": [_rule("", "pods", "CREATE"), _PROBED],
            "objectSelector": {"matchLabels": labels},
        }
        with policy(
            scene.ground, f"no-{stage}-{scene.world.namespace}", rule, "false", RELEASE, labels
        ) as heal:
            yield Broken(heal)

    return fault


def _rule(group: str, resource: str, operation: str) -> Object:
    return {"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource]}


_PROBED: Final = _rule("", "configmaps", "CREATE")
"""A dry run of one shows whether a policy is in force: the API server applies a new one with a delay."""


@contextmanager
def policy(
    ground: Ground, name: str, matched: Object, allowed: str, namespace: str, labels: Mapping[str, str]
) -> Iterator[Callable[[], None]]:
    """A ValidatingAdmissionPolicy that refuses every match unless the CEL rule `allowed` holds.

    The yielded function removes it. `namespace` and `labels` are those of the object used to test the policy.
    """
    group = "admissionregistration.k8s.io/v1"
    spec = {"matchConstraints": matched, "validations": [{"expression": allowed, "message": WORDS}]}
    ground.apply(
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {"failurePolicy": "Fail", **spec},
        },
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    )
    probe = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "probe", "namespace": namespace, "labels": dict(labels)},
    }

    def in_force() -> bool:
        try:
            ground.cluster.create(probe, dry_run=True)
        except StepError as error:
            if WORDS not in str(error):
                raise
            return True
        return False

    def remove() -> None:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            ground.kubectl("delete", kind, name, "--ignore-not-found")
        eventually(lambda: not in_force(), f"policy {name} to be over", 60)

    try:
        eventually(in_force, f"policy {name} to be in force", 60)
        yield remove
    finally:
        remove()


FAULTS: Final[Mapping[str, tuple[Moment, Fault]]] = {
    "preflight": (Moment.BEFORE, without_tools),
    "admit": (Moment.BEFORE, no_image),
    "poweroff": (Moment.CHECKED, without_tools),
    "export": (Moment.CHECKED, no_export),
    "convert": (Moment.CHECKED, no_pod("convert")),
    "serve": (Moment.CHECKED, no_pod("serve")),
    "image": (Moment.CHECKED, no_image),
    "hand-over": (Moment.CHECKED, no_claim),
    "build": (Moment.CHECKED, name_taken),
    "start": (Moment.CHECKED, no_start),
}
"""By stage. `release-source` fails because of a kill (test_matrix.py)."""
