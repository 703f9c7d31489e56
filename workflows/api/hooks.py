"""`spec.hooks` of an import: which hooks run, and where. The hooks are ImportHooks of the administrator."""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict, Field

from workflows.api.base import Model, rules

MOST_HOOKS: Final = 16
LONGEST_STAGE: Final = 32
LONGEST_HOOK: Final = 63
_NAME: Final = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
HOOK_ROWS: Final = rules(
    (
        "self.all(one, self.exists_one(other, (has(other.before) ? 'before ' + other.before : "
        "'after ' + (has(other.after) ? other.after : '')) == (has(one.before) ? 'before ' + one.before : "
        "'after ' + (has(one.after) ? one.after : ''))))",
        "two rows are for the same point, and a point has one hook: write one of them at another point, or "
        "use a hook with several steps",
    )
)


class HookRow(Model):
    """A hook, and the stage before or after which it runs."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.before) != has(self.after)",
                "a hook runs before or after a stage: write exactly one of before and after",
            )
        )
    )

    before: str | None = Field(
        default=None,
        description="The stage before which the hook runs, such as poweroff. One of before and after is "
        "required.",
        json_schema_extra={"minLength": 1, "maxLength": LONGEST_STAGE},
    )
    after: str | None = Field(
        default=None,
        description="The stage after whose success the hook runs, such as start. One of before and after is "
        "required.",
        json_schema_extra={"minLength": 1, "maxLength": LONGEST_STAGE},
    )
    name: str = Field(
        default="",
        description="The name of an ImportHook in the namespace of vmferry. Required.",
        json_schema_extra={"x-required": True, "minLength": 1, "maxLength": LONGEST_HOOK, "pattern": _NAME},
    )
