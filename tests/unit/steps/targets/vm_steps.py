"""The last steps of a target, which are the same for all targets in a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from steps.model.mapping import Shape
from steps.targets.cluster.vm_objects import VmObjects


class VmSteps(ABC):
    """A world with a VM; see `steps`."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """The VM at the target."""

    @abstractmethod
    def vm_objects(self) -> VmObjects:
        """The VM and its volumes, as a step sees them that begins now."""

    @abstractmethod
    def steps(self) -> list[Callable[[], object]]:
        """The steps of the target, in order."""

    def build(self) -> list[str]:
        return self.vm_objects().build(self.shape)

    def start(self) -> None:
        vm_objects = self.vm_objects()
        vm_objects.start(self.shape)
        vm_objects.wait(self.shape)

    def leave_off(self) -> None:
        self.vm_objects().leave_off(self.shape)

    def carry_out(self) -> None:
        for step in self.steps():
            step()
