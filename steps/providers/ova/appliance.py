"""An open package with its descriptor and manifest, each read once."""

from __future__ import annotations

from functools import cached_property

from steps.contract import Exit, StepError
from steps.providers.ova import envelope, manifest
from steps.providers.ova.envelope import Envelope, System
from steps.providers.ova.manifest import Manifest
from steps.providers.ova.package import Package


class Appliance:
    """What is known about a package."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self._manifest: Manifest | None = None

    @cached_property
    def _descriptor(self) -> tuple[str, bytes]:
        return self.package.descriptor()

    @property
    def name(self) -> str:
        """The descriptor's file name."""
        return self._descriptor[0]

    @cached_property
    def envelope(self) -> Envelope:
        """The descriptor, proved by the manifest if that is near.

        Raises:
            StepError: what finding and reading it may raise; CORRUPT when it is not as the manifest says.
        """
        name, text = self._descriptor
        found = self.manifest(far=False)
        if found and (digest := found.digests.get(name)):
            manifest.check(text, digest)
        return envelope.read(text, name)

    def manifest(self, *, far: bool) -> Manifest | None:
        """The manifest; without `far` None also where looking for it would take too long."""
        if self._manifest is None:
            name = self._beside(".mf")
            text = self.package.read(name, manifest.MOST_BYTES, far=far)
            self._manifest = None if text is None else manifest.read(text, name)
        return self._manifest

    def signed(self) -> bool:
        """Whether there is a certificate beside the descriptor."""
        return bool(self.package.has(self._beside(".cert")))

    def _beside(self, suffix: str) -> str:
        """A file that belongs to the descriptor: it has the same name (DSP0243, 6.3)."""
        return (
            self.name[: -len(".ovf")] + suffix if self.name.lower().endswith(".ovf") else self.name + suffix
        )

    def system(self, wanted: str) -> System:
        """The machine that a name or id stands for; the only one, whatever it is called.

        Raises:
            StepError: NOT_FOUND or AMBIGUOUS, with all there are.
        """
        systems = self.envelope.systems
        if len(systems) == 1:
            return systems[0]
        for found in (
            [one for one in systems if wanted == one.id],
            [one for one in systems if wanted == one.name],
        ):
            if len(found) == 1:
                return found[0]
            if found:
                raise self._unclear(Exit.AMBIGUOUS, f"{len(found)} machines are called {wanted!r}")
        raise self._unclear(Exit.NOT_FOUND, f"there is no machine {wanted!r}")

    def by_id(self, identity: str) -> System | None:
        """The machine that was described under this id."""
        return next((one for one in self.envelope.systems if one.id == identity), None)

    def _unclear(self, code: Exit, what: str) -> StepError:
        there = ", ".join(f"{one.id} ({one.name})" for one in self.envelope.systems[:50])
        return StepError(
            code,
            f"{what} in {self.package.shown}",
            f"it holds several: {there}",
            "write the id or name of one of them in spec.virtualMachineName",
        )
