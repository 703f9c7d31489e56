"""An open package with its descriptor and manifest, each read once."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property

from steps.disk.faults import corruption_fault
from steps.disk.source import Digest
from steps.model.contract import Exit, StepError
from steps.providers.ova import envelope, manifest, names
from steps.providers.ova.envelope import Envelope, File, System
from steps.providers.ova.manifest import OvfManifest
from steps.providers.ova.names import NameIndex
from steps.providers.ova.package import Package


class Appliance:
    """An open package, its descriptor and its manifest."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self._manifest: OvfManifest | None = None
        self._refused: dict[str, StepError] = {}

    @cached_property
    def _descriptor(self) -> tuple[str, bytes]:
        return self.package.descriptor()

    def content_digest(self) -> str:
        """A digest over the descriptor and the manifest, if that is near: it changes with what they describe.

        Not over what the server says of the file: some servers give another ETag or time with each answer.
        """
        digest = hashlib.sha256(self._descriptor[1])
        package_manifest = self.manifest(full_scan=False)
        if package_manifest is not None:
            known = {file: expected.value for file, expected in package_manifest.digests.items()}
            for file, value in sorted({**package_manifest.unknown, **known}.items()):
                digest.update(f"{file}\0{value}\0".encode())
        return digest.hexdigest()

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
        self.check_descriptor(full_scan=False)
        return envelope.read(text, name)

    def check_descriptor(self, *, full_scan: bool) -> bool:
        """Compare the descriptor with the manifest; whether there is one and it has no digest of it.

        Raises:
            StepError: CORRUPT.
        """
        name, text = self._descriptor
        package_manifest = self.manifest(full_scan=full_scan)
        digest = package_manifest.digest(name) if package_manifest else None
        if digest:
            manifest.check(text, digest)
        return package_manifest is not None and digest is None

    def digest(self, file: str, *, full_scan: bool) -> Digest | None:
        """A file's digest in the manifest; None without a manifest.

        Every file that is read is checked against it.

        Raises:
            StepError: the errors of `manifest` and `Manifest.digest`; CORRUPT, if the manifest lists files
                that are not in the package instead: one of them may be this one, in an unknown spelling.
        """
        package_manifest = self.manifest(full_scan=full_scan)
        if package_manifest is None:
            return None
        digest = package_manifest.digest(file)
        if digest is None and self._unknown_file:
            raise corruption_fault(
                f"the manifest {package_manifest.name} does not match the package",
                f"it has no digest of {file}, but one of {self._unknown_file}, which is not in the package",
                "correct the names in it, or get a new copy of the package",
            )
        return digest

    def file_digest(self, file: File, *, full_scan: bool) -> Digest | None:
        """As `digest`, for a file that the manifest may list by the name in the descriptor."""
        digest = self.digest(file.name, full_scan=full_scan)
        if digest is None and file.declared is not None and file.declared.name != file.name:
            return self.digest(file.declared.name, full_scan=full_scan)
        return digest

    @cached_property
    def _unknown_file(self) -> str:
        """The first file, by name, of the manifest that is not in the package; "" if there is none.

        Used only when there is a manifest, which does not change after that.
        """
        listed = self._manifest.files if self._manifest else frozenset()
        return min((name for name in listed if not self._is_of_package(name)), default="")

    @cached_property
    def _known_names(self) -> NameIndex:
        """The descriptor, and the files that it lists."""
        return NameIndex([self.name, *(file.name for file in self.envelope.files)])

    def _is_of_package(self, name: str) -> bool:
        """Whether a name is that of the descriptor, of a file it lists or of a piece of one."""
        whole = re.sub(r"\.\d{9}$", "", name)
        return any(self._known_names.find(spelling, self.name) is not None for spelling in (name, whole))

    def manifest(self, *, full_scan: bool) -> OvfManifest | None:
        """The manifest; without `full_scan` also None if searching for it would take too long."""
        if self._manifest is None:
            for name in self._manifest_names(full_scan=full_scan):
                text = self._read_optional(name, full_scan=full_scan)
                if text is not None:
                    self._manifest = manifest.read(text, name).relative_to(self.name)
                    break
        return self._manifest

    def _read_optional(self, name: str, *, full_scan: bool) -> bytes | None:
        """A file that a package need not have; None if it is missing, or if the server refuses it.

        An object store answers 403 for a missing file to an account that may not list files.
        """
        if name in self._refused:
            return None
        try:
            return self.package.read(name, manifest.MAX_BYTES, full_scan=full_scan)
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            self._refused[name] = error
            return None

    @property
    def refusal(self) -> str:
        """How the server refused the manifest; "" if it did not. Used after `manifest`."""
        return "" if self._manifest else next((str(error.what) for error in self._refused.values()), "")

    def _manifest_names(self, *, full_scan: bool) -> list[str]:
        """Possible names of the manifest; if the package's files can be listed, any `.mf` counts."""
        expected = self._sibling_name(".mf")
        listed = self.package.names(full_scan=full_scan)
        if listed is None:
            return [expected, self._sibling_name(".MF")]
        candidates = [name for name in listed if names.has_suffix(name, ".mf")]
        match = names.find(expected, candidates, self.package.display_url)
        if sum(names.has_suffix(name, ".ovf") for name in listed) > 1:  # a folder of several packages
            return [match] if match else []
        if match is None and len(candidates) > 1:
            raise StepError(
                Exit.AMBIGUOUS,
                f"{self.package.display_url} has several manifests",
                f"{', '.join(candidates)}, and none of them is called {expected}",
                "give that name to the one that belongs to the descriptor",
            )
        return [match] if match else candidates

    def is_signed(self) -> bool:
        """Whether there is a certificate next to the descriptor."""
        try:
            return bool(self.package.has(self._sibling_name(".cert")))
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            return False

    def _sibling_name(self, suffix: str) -> str:
        """A file that belongs to the descriptor: it has the same name (DSP0243, 6.3)."""
        return (
            self.name[: -len(".ovf")] + suffix if self.name.lower().endswith(".ovf") else self.name + suffix
        )

    def system(self, name_or_id: str) -> System:
        """The VM with a name or id; the only VM for any name.

        Raises:
            StepError: NOT_FOUND or AMBIGUOUS, with the existing ones.
        """
        systems = self.envelope.systems
        if len(systems) == 1:
            return systems[0]
        for matches in (
            [system for system in systems if name_or_id == system.id],
            [system for system in systems if name_or_id == system.name],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise self._system_error(Exit.AMBIGUOUS, f"{len(matches)} VMs are called {name_or_id!r}")
        raise self._system_error(Exit.NOT_FOUND, f"there is no VM {name_or_id!r}")

    def by_id(self, system_id: str) -> System | None:
        """The VM that was described with this id."""
        return next((system for system in self.envelope.systems if system.id == system_id), None)

    def _system_error(self, code: Exit, what: str) -> StepError:
        existing = ", ".join(f"{system.id} ({system.name})" for system in self.envelope.systems[:50])
        return StepError(
            code,
            f"{what} in {self.package.display_url}",
            f"it has several VMs: {existing}",
            "set spec.virtualMachineName to the id or name of one of them",
        )
