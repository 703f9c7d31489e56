"""Documents as texts that pass through Argo or the log of a pod: the base64 of the gzip of JSON. Pure.

Such a text never contains `{{`, which Argo would treat as a template. Its writer has parsed foreign data: the
reader trusts neither its size nor its content.
"""

from __future__ import annotations

import base64
import binascii
import gzip
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.workflow_nodes import gunzip

Model = TypeVar("Model", bound=BaseModel)


def text_of(document: bytes) -> str:
    """The text of a document; the same for each call."""
    return base64.b64encode(gzip.compress(document, mtime=0)).decode()


@dataclass(frozen=True)
class Packing:
    """The bounds of a kind of document."""

    most_bytes: int
    """Of the document."""
    most_characters: int
    """Of its text."""

    def pack(self, document: bytes, what: str, remedy: str) -> str:
        """The text of a document; `what` names it in the error.

        Raises:
            StepError: UNSUPPORTED, for a document that is too large.
        """
        text = text_of(document)
        if len(document) <= self.most_bytes and len(text) <= self.most_characters:
            return text
        raise StepError(
            Exit.UNSUPPORTED,
            f"{what} is too large",
            f"it has {len(document)} bytes, {len(text)} when compressed; at most {self.most_bytes} and "
            f"{self.most_characters} can be handed over",
            remedy,
        )

    def unpack(self, text: str, kind: type[Model], failure: str, code: Exit = Exit.INVALID) -> Model:
        """The document in a text; `failure` is what the error says first.

        Raises:
            StepError: `code`, for anything that `pack` does not make.
        """
        if len(text) > self.most_characters:
            raise StepError(code, failure, f"it has more than {self.most_characters} characters")
        try:
            return kind.model_validate_json(gunzip(base64.b64decode(text, validate=True), self.most_bytes))
        except ValidationError as error:
            raise StepError(code, failure, first_error(error)) from None
        except (binascii.Error, ValueError) as error:
            raise StepError(code, failure, str(error)) from None
