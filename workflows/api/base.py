"""What all models of custom resources share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Part of a resource. An unknown field is an error: a cluster would drop it silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


def none_to_list(value: Any) -> Any:
    """For a list that may be null, which means empty."""
    return [] if value is None else value


def none_to_map(value: Any) -> Any:
    """For a map that may be null, which means empty."""
    return {} if value is None else value


Flag = Annotated[bool, Strict()]
"""Only true or false: the API server refuses 1 and "yes" too."""
TextMap = Annotated[dict[str, str], BeforeValidator(none_to_map)]


def rules(*given: tuple[str, str]) -> dict[str, Any]:
    """Rules in CEL for `workflows.api.schema`, each with its message."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in given]}
