"""The custom resource ImportHook: what imports may run before or after their stages.

The administrator creates it in the namespace of vmferry; those of other namespaces have no effect. An import
refers to it by its name only, so nothing that a tenant writes becomes a part of its pod. The schema is
strict: it is a kind of vmferry only. The descriptions become those of the CRD.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from workflows.api.base import Model, TextMap, none_to_list, rules
from workflows.api.resources import Metadata

LONGEST_TEXT: Final = 4096
LONGEST_NAME: Final = 253
MOST_WORDS: Final = 64
MOST_NAMESPACES: Final = 256
DEFAULT_SECONDS: Final = 600
MOST_SECONDS: Final = 24 * 60 * 60
_OBJECT: Final = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_NAMESPACE: Final = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_QUANTITY: Final = "^[0-9]+([.][0-9]+)?(m|[KMGTP]i|[kMGTP])?$"
_REQUIRED: Final[dict[str, Any]] = {"x-required": True}
_WORDS: Final[dict[str, Any]] = {"maxItems": MOST_WORDS, "x-longest": LONGEST_TEXT}
_NAMED: Final[dict[str, Any]] = {"maxLength": LONGEST_NAME, "pattern": _OBJECT}

Words = Annotated[tuple[str, ...], BeforeValidator(none_to_list)]


class OnHookFailure(enum.StrEnum):
    """What the failure of a hook means for the import."""

    VETO = "veto"
    """The import fails at this point."""
    CONTINUE = "continue"


class HookVariable(Model):
    """An environment variable of the container."""

    name: str = Field(
        default="",
        description="The name of the variable. Required.",
        json_schema_extra={
            **_REQUIRED,
            "minLength": 1,
            "maxLength": LONGEST_NAME,
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
        },
    )
    value: str = Field(
        default="",
        description="Its value. The default is an empty text.",
        json_schema_extra={"maxLength": LONGEST_TEXT},
    )


def _amounts() -> dict[str, Any]:
    return {"maxProperties": 8, "x-longest": 32, "x-values": {"pattern": _QUANTITY}}


class HookResources(Model):
    """The resources of the container."""

    requests: TextMap = Field(
        default={},
        description="Resources that the container gets at least. The default is none.",
        json_schema_extra=_amounts(),
    )
    limits: TextMap = Field(
        default={},
        description="Resources that the container gets at most. The default is none.",
        json_schema_extra=_amounts(),
    )


class HookContainer(Model):
    """The container of a hook. Its exit code 0 means success."""

    image: str = Field(
        default="",
        description="The image, with a tag or a digest. Required.",
        json_schema_extra={**_REQUIRED, "minLength": 1, "maxLength": LONGEST_TEXT},
    )
    command: Words = Field(
        default=(),
        description="The program and its first words. The default is that of the image. At most 64 words.",
        json_schema_extra=_WORDS,
    )
    args: Words = Field(
        default=(),
        description="Further words for the program. The default is that of the image, if `command` is not "
        "set. At most 64 words.",
        json_schema_extra=_WORDS,
    )
    env: Annotated[tuple[HookVariable, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Environment variables. The default is none. At most 64 rows.",
        json_schema_extra={"maxItems": MOST_WORDS},
    )
    resources: HookResources = Field(
        default=HookResources(),
        description="Requests and limits of resources. The default is none.",
    )


class HookTemplate(Model):
    """A WorkflowTemplate of Argo in the namespace of vmferry."""

    name: str = Field(
        default="",
        description="The name of the WorkflowTemplate. Required. vmferry passes one parameter, `document`: "
        "the name of a ConfigMap with the key hook.json.",
        json_schema_extra={**_REQUIRED, **_NAMED},
    )
    entrypoint: str = Field(
        default="",
        description="The template with which it begins. The default is that of the WorkflowTemplate.",
        json_schema_extra={"maxLength": LONGEST_NAME},
    )


_ONE: Final = "[has(self.container), has(self.workflowTemplate), has(self.command)]"


class ImportHookSpec(Model):
    """What a hook runs, for how long, and who may use it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                f"{_ONE}.filter(given, given).size() == 1",
                "a hook runs one thing: write exactly one of container, workflowTemplate and command",
            ),
            (
                "has(self.container) || (!has(self.secret) && !has(self.serviceAccountName))",
                "secret and serviceAccountName are for a container: remove them; a WorkflowTemplate names "
                "its own",
            ),
        )
    )

    container: HookContainer | None = Field(
        default=None,
        description="A container that runs in a pod of its own. One of container, workflowTemplate and "
        "command is required.",
    )
    workflow_template: HookTemplate | None = Field(
        default=None,
        description="A WorkflowTemplate of Argo that runs in a Workflow of its own. One of container, "
        "workflowTemplate and command is required.",
    )
    command: Words = Field(
        default=(),
        description="A program and its words, which `vmferry run` starts on your computer. In a cluster it "
        "is not used. One of container, workflowTemplate and command is required. At most 64 words.",
        json_schema_extra={"minItems": 1, **_WORDS},
    )
    timeout_seconds: int = Field(
        default=DEFAULT_SECONDS,
        description="For how many seconds the hook may run, 1 to 86400, with the start of its pod. A hook "
        "that takes longer is ended and has failed. The default is 600 seconds.",
        json_schema_extra={"minimum": 1, "maximum": MOST_SECONDS},
    )
    on_failure: OnHookFailure = Field(
        default=OnHookFailure.VETO,
        description="What a failure of the hook means. veto: the import fails at this point. continue: the "
        "failure is shown, and the import continues. The default is veto.",
    )
    allowed_namespaces: Words = Field(
        default=(),
        description="The namespaces whose imports may use the hook. The default is every namespace. At most "
        "256 names.",
        json_schema_extra={"maxItems": MOST_NAMESPACES, "x-longest": 63, "x-item-pattern": _NAMESPACE},
    )
    secret: str = Field(
        default="",
        description="The name of a Secret in the namespace of vmferry, which the container finds as files "
        "in /hook-secret. The default is none.",
        json_schema_extra=_NAMED,
    )
    service_account_name: str = Field(
        default="",
        description="The name of a service account in the namespace of vmferry. The container then gets its "
        "token. The default is vmferry-hook, which has no rights, and no token.",
        json_schema_extra=_NAMED,
    )

    def allows(self, namespace: str) -> bool:
        """Whether imports of a namespace may use the hook."""
        return not self.allowed_namespaces or namespace in self.allowed_namespaces


class ImportHook(Model):
    """A hook that imports may name."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["ImportHook"]
    metadata: Metadata
    spec: ImportHookSpec = ImportHookSpec()

    @property
    def title(self) -> str:
        """The hook, for messages."""
        return f"ImportHook {self.metadata.namespace}/{self.metadata.name}"
