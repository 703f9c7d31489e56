"""An object of the source's API. Pure."""

from __future__ import annotations

from typing import ClassVar

from steps.model.quantity import to_bytes
from steps.providers import answers


class Answer(answers.Answer):
    """An object of the API, or a part of one."""

    WHAT: ClassVar[str] = "the answer of the source's API server cannot be used"
    REMEDY: ClassVar[str] = (
        "check that spec.endpoint is the API server of a cluster with KubeVirt, and what a proxy on the path "
        "to it does"
    )

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.text("metadata", "name")

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return self.text("metadata", "uid")

    @property
    def is_deleting(self) -> bool:
        """Whether it is being deleted."""
        return bool(self.text("metadata", "deletionTimestamp"))

    def annotation(self, name: str) -> str:
        """An annotation; "" if it is missing."""
        return self.text("metadata", "annotations", name)

    def label(self, name: str) -> str:
        """A label; "" if it is missing."""
        return self.text("metadata", "labels", name)

    def has(self, *keys: str) -> bool:
        """Whether there is something below these keys; an empty object counts, as `efi: {}` does."""
        return self.child(*keys).value is not None

    def names(self, *keys: str) -> tuple[str, ...]:
        """The names of the fields below these keys that are set."""
        fields = self.child(*keys)
        if fields.value is None:
            return ()
        if not isinstance(fields.value, dict):
            raise self.unusable(f"{fields.path} is not an object")
        return tuple(str(name) for name, value in fields.value.items() if value is not None)

    def quantity(self, *keys: str) -> int | None:
        """The bytes of a quantity such as `10Gi`; None if it is missing."""
        text = self.text(*keys)
        if not text:
            return None
        try:
            return to_bytes(text)
        except ValueError as error:
            raise self.unusable(f"{self.child(*keys).path}: {error}") from None

    def condition(self, kind: str) -> Answer:
        """The condition of that type in the status; empty if there is none."""
        found = (one for one in self.child("status").elements("conditions") if one.text("type") == kind)
        return next(found, Answer({}))
