"""An answer of the engine. Pure.

In the engine's JSON all scalars are strings ("true", "1073741824"). A collection is an object with one list
({"vm": […]}), and an empty one is absent.
"""

from __future__ import annotations

from typing import ClassVar

from steps.model.contract import StepError
from steps.providers import answers


class Answer(answers.Answer):
    """A part of an answer of the engine."""

    WHAT: ClassVar[str] = "the answer of the engine cannot be used"
    REMEDY: ClassVar[str] = (
        "check that the endpoint is the API of an oVirt engine, and what a proxy on the path to it does"
    )


def unusable(why: str) -> StepError:
    """The error for an answer that is not one of an oVirt engine."""
    return Answer.unusable(why)
