"""An open package with its descriptor and manifest, each read once."""

from __future__ import annotations

import re
from functools import cached_property

from steps.disk.faults import corruption_fault
from steps.disk.source import Digest
from steps.model.contract import Exit, StepError
from steps.providers.ova import envelope, manifest, names
from steps.providers.ova.envelope import Envelope, System
from steps.providers.ova.manifest import Manifest
from steps.providers.ova.package import Package


class Appliance:
    """An open package, its descriptor and its manifest."""

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
        """The descriptor, checked against the manifest if that is near.

        Raises:
            StepError: the errors of finding and reading it; CORRUPT if it does not match the manifest.
        """
        name, text = self._descriptor
        self.prove_descriptor(far=False)
        return envelope.read(text, name)

    def prove_descriptor(self, *, far: bool) -> bool:
        """Compare the descriptor with the manifest; whether there is one and it has no digest of it.

        Raises:
            StepError: CORRUPT.
        """
        name, text = self._descriptor
        found = self.manifest(far=far)
        digest = found.digest(name) if found else None
        if digest:
            manifest.check(text, digest)
        return found is not None and digest is None

    def digest(self, file: str, *, far: bool) -> Digest | None:
        """A file's digest in the manifest; None without a manifest.

        Every file that is read is checked against it.

        Raises:
            StepError: the errors of `manifest` and `Manifest.digest`; CORRUPT, if the manifest lists files
                that are not in the package instead: one of them may be this one, in an unknown spelling.
        """
        found = self.manifest(far=far)
        if found is None:
            return None
        digest = found.digest(file)
        strange = sorted(name for name in found.files if not self._is_ours(name)) if digest is None else []
        if strange:
            raise corruption_fault(
                f"the manifest {found.name} does not match the package",
                f"it has no digest of {file}, but one of {strange[0]}, which is not in the package",
                "correct the names in it, or get a new copy of the package",
            )
        return digest

    def _is_ours(self, name: str) -> bool:
        """Whether a name is that of the descriptor, of a file it lists or of a piece of one."""
        ours = [self.name, *(file.name for file in self.envelope.files)]
        whole = re.sub(r"\.\d{9}$", "", name)
        return any(names.find(each, ours, self.name) is not None for each in (name, whole))

    def manifest(self, *, far: bool) -> Manifest | None:
        """The manifest; without `far` also None if searching for it would take too long."""
        if self._manifest is None:
            for name in self._manifests(far=far):
                text = self.package.read(name, manifest.MOST_BYTES, far=far)
                if text is not None:
                    self._manifest = manifest.read(text, name)
                    break
        return self._manifest

    def _manifests(self, *, far: bool) -> list[str]:
        """Possible names of the manifest; if the package's files can be listed, any `.mf` counts."""
        wanted = self._next_to_descriptor(".mf")
        listed = self.package.names(far=far)
        if listed is None:
            return [wanted, self._next_to_descriptor(".MF")]
        there = [name for name in listed if names.is_a(name, ".mf")]
        found = names.find(wanted, there, self.package.shown)
        if sum(names.is_a(name, ".ovf") for name in listed) > 1:  # a folder of several packages
            return [found] if found else []
        if found is None and len(there) > 1:
            raise StepError(
                Exit.AMBIGUOUS,
                f"{self.package.shown} has several manifests",
                f"{', '.join(there)}, and none of them is called {wanted}",
                "give that name to the one that belongs to the descriptor",
            )
        return [found] if found else there

    def signed(self) -> bool:
        """Whether there is a certificate next to the descriptor."""
        return bool(self.package.has(self._next_to_descriptor(".cert")))

    def _next_to_descriptor(self, suffix: str) -> str:
        """A file that belongs to the descriptor: it has the same name (DSP0243, 6.3)."""
        return (
            self.name[: -len(".ovf")] + suffix if self.name.lower().endswith(".ovf") else self.name + suffix
        )

    def system(self, wanted: str) -> System:
        """The VM with a name or id; the only VM for any name.

        Raises:
            StepError: NOT_FOUND or AMBIGUOUS, with the existing ones.
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
                raise self._unclear(Exit.AMBIGUOUS, f"{len(found)} VMs are called {wanted!r}")
        raise self._unclear(Exit.NOT_FOUND, f"there is no VM {wanted!r}")

    def by_id(self, identity: str) -> System | None:
        """The VM that was described with this id."""
        return next((one for one in self.envelope.systems if one.id == identity), None)

    def _unclear(self, code: Exit, what: str) -> StepError:
        there = ", ".join(f"{one.id} ({one.name})" for one in self.envelope.systems[:50])
        return StepError(
            code,
            f"{what} in {self.package.shown}",
            f"it has several VMs: {there}",
            "set spec.virtualMachineName to the id or name of one of them",
        )
