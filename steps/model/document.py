"""The base of all documents between two processes: strict, frozen, versioned, written atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from steps.model.contract import Exit, StepError


class Document(BaseModel):
    """A document or a part of one: unknown fields are refused, values are frozen.

    In JSON the field names are camelCase, as in Kubernetes.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the document so that `path` holds either the old or the complete new text."""
        write_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate.

        Raises:
            StepError: INVALID, with the first field that is wrong.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise StepError(
                Exit.INVALID,
                f"{path.name} is missing",
                f"there is no file {path}",
                "run the previous step first",
            ) from None
        except ValidationError as error:
            raise StepError(Exit.INVALID, f"{path.name} is not valid", first_error(error)) from None


def first_error(error: ValidationError) -> str:
    """The first error of a validation, as `field.path: message`."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` by `text` in one step; after a power cut either the old or the new text is there."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # on a full filesystem half a document would use the space of a complete one
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
