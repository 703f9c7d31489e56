"""`spec.virtualMachine` of an import: what the new VM gets in addition to what it has at its source.

These fields are vmferry's own, so their schema is strict. The same rules are in `workflows.vm_settings`, for
manifests that no API server has seen. The descriptions become those of the CRD.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field

from steps.model.kinds import GROUP
from steps.model.vm_settings import EvictionStrategy, PowerState, RunStrategy
from workflows.api.base import Flag, Model, TextMap, none_to_list, rules

MOST_LABELS: Final = 64
MOST_ANNOTATIONS: Final = 64
MOST_RULES: Final = 32
MOST_SELECTORS: Final = 32
MOST_TOLERATIONS: Final = 32
MOST_TERMS: Final = 32
LONGEST_KEY: Final = 253 + 1 + 63
LONGEST_VALUE: Final = 63
LONGEST_ANNOTATION: Final = 2048
LONGEST_OBJECT: Final = 253
LONGEST_PATCH: Final = 16 << 10

Json = dict[str, Any]

REQUIRED: Final[Json] = {"x-required": True}
"""For `workflows.api.schema`: the schema requires the field."""
_KEY: Final[Json] = {"minLength": 1, "maxLength": LONGEST_KEY}
_NAME: Final[Json] = {
    "minLength": 1,
    "maxLength": LONGEST_OBJECT,
    "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
}
_RESERVED: Final = (
    "Keys of harvesterhci.io and kubevirt.io, and keys that begin with migration., are refused."
)


_LABEL_VALUE: Final[Json] = {"pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"}
_NOT_RESERVED: Final = (
    "self.all(key, !key.startsWith('migration.') && !key.startsWith('kubevirt.io/') && "
    "!key.startsWith('harvesterhci.io/') && !key.contains('.kubevirt.io/') && "
    "!key.contains('.harvesterhci.io/'))",
    _RESERVED,
)
"""`steps.model.naming.is_reserved_key`, which `workflows.vm_settings` uses, also ignores case."""
_NOT_EMPTY: Final = ("self.all(key, key != '')", "a key is empty: write NAME or DOMAIN/NAME")
_ONE_LABEL: Final = (
    "self.all(one, self.exists_one(other, other.label == one.label))",
    "two rows have the same label, so it is not clear which one counts: keep one of them",
)
_OPERATORS: Final = (
    (
        "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
        "the operators In and NotIn need values: write at least one",
    ),
    (
        "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0",
        "the operators Exists and DoesNotExist compare no values: remove values",
    ),
)
_NUMBERS: Final = (
    "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && self.values.size() == 1)",
    "the operators Gt and Lt need one value: a whole number",
)


def _texts(most: int, longest: int, *given: tuple[str, str], values: Json | None = None) -> Json:
    return {
        "maxProperties": most,
        "x-longest": longest,
        "x-values": values or {},
        **rules(_NOT_EMPTY, *given),
    }


def _rows(most: int, *, least: int = 0, longest: int = 0) -> Json:
    return {
        "maxItems": most,
        **({"minItems": least} if least else {}),
        **({"x-longest": longest} if longest else {}),
    }


class TagLabelRule(Model):
    """A label of the new VM whose value is that of a tag at the source."""

    tag: str = Field(
        default="",
        description="The name of what the VM has at its source. vSphere: a category of tags, or a custom "
        "attribute. OpenStack: a key of the metadata, or a tag. oVirt: a tag. KubeVirt: the key of a label.",
        json_schema_extra={**REQUIRED, "minLength": 1, "maxLength": LONGEST_KEY},
    )
    label: str = Field(
        default="",
        description="The key of the label, such as example.com/environment. Its value is the tag of that "
        "category, or the value; true for a tag without a category. Characters that a label cannot have "
        f"become '-'. {_RESERVED}",
        json_schema_extra={**REQUIRED, **_KEY},
    )


class InstancetypeKind(enum.StrEnum):
    """KubeVirt's kinds of instancetypes."""

    CLUSTER = "VirtualMachineClusterInstancetype"
    NAMESPACED = "VirtualMachineInstancetype"


class PreferenceKind(enum.StrEnum):
    """KubeVirt's kinds of preferences."""

    CLUSTER = "VirtualMachineClusterPreference"
    NAMESPACED = "VirtualMachinePreference"


class InstancetypeReference(Model):
    """An instancetype of KubeVirt."""

    kind: InstancetypeKind | None = Field(
        default=None,
        description="Whether it is one of the cluster or of the VM's namespace. The default is "
        "VirtualMachineClusterInstancetype.",
    )
    name: str = Field(
        default="",
        description="The name of the instancetype of KubeVirt.",
        json_schema_extra={**REQUIRED, **_NAME},
    )


class PreferenceReference(Model):
    """A preference of KubeVirt."""

    kind: PreferenceKind | None = Field(
        default=None,
        description="Whether it is one of the cluster or of the VM's namespace. The default is "
        "VirtualMachineClusterPreference.",
    )
    name: str = Field(
        default="",
        description="The name of the preference of KubeVirt.",
        json_schema_extra={**REQUIRED, **_NAME},
    )


# --- scheduling, as in a pod (k8s.io/api core/v1)


class NodeOperator(enum.StrEnum):
    """How a label of a node is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class LabelOperator(enum.StrEnum):
    """How a label of a pod is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


Values = Annotated[tuple[str, ...], BeforeValidator(none_to_list)]


class NodeRequirement(Model):
    """A condition on a label or a field of a node."""

    model_config = ConfigDict(json_schema_extra=rules(*_OPERATORS, _NUMBERS))

    key: str = Field(
        default="",
        description="The key of the label, or the name of the field of the node.",
        json_schema_extra={**REQUIRED, **_KEY},
    )
    operator: NodeOperator | None = Field(
        default=None, description="How the label is compared with the values.", json_schema_extra=REQUIRED
    )
    values: Values = Field(
        default=(),
        description="The values to compare with. The default is none, which Exists and DoesNotExist need.",
        json_schema_extra=_rows(MOST_TERMS, longest=LONGEST_VALUE),
    )


class NodeTerm(Model):
    """Conditions on a node; all of them must hold."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Conditions on labels of the node. The default is none.",
        json_schema_extra=_rows(MOST_TERMS),
    )
    match_fields: Annotated[tuple[NodeRequirement, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Conditions on fields of the node. The default is none.",
        json_schema_extra=_rows(MOST_TERMS),
    )


class NodeSelector(Model):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="The terms. One of them must hold.",
        json_schema_extra={**REQUIRED, **_rows(MOST_TERMS, least=1)},
    )


class PreferredNode(Model):
    """A term that is preferred."""

    weight: int = Field(
        default=1,
        description="How much the term counts: a number from 1 to 100.",
        json_schema_extra={**REQUIRED, "minimum": 1, "maximum": 100},
    )
    preference: NodeTerm = Field(
        default=NodeTerm(), description="The conditions that are preferred.", json_schema_extra=REQUIRED
    )


class NodeAffinity(Model):
    """On which nodes the VM may run."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        default=None, description="Terms that a node must fulfill. The default is none."
    )
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredNode, ...], BeforeValidator(none_to_list)
    ] = Field(
        default=(),
        description="Terms that a node should fulfill. The default is none.",
        json_schema_extra=_rows(MOST_TERMS),
    )


class LabelRequirement(Model):
    """A condition on a label of a pod or a namespace."""

    model_config = ConfigDict(json_schema_extra=rules(*_OPERATORS))

    key: str = Field(default="", description="The key of the label.", json_schema_extra={**REQUIRED, **_KEY})
    operator: LabelOperator | None = Field(
        default=None, description="How the label is compared with the values.", json_schema_extra=REQUIRED
    )
    values: Values = Field(
        default=(),
        description="The values to compare with. The default is none, which Exists and DoesNotExist need.",
        json_schema_extra=_rows(MOST_TERMS, longest=LONGEST_VALUE),
    )


class LabelSelector(Model):
    """Conditions on labels; all of them must hold."""

    match_labels: TextMap = Field(
        default_factory=dict,
        description="Labels that must have these values. The default is none.",
        json_schema_extra=_texts(MOST_SELECTORS, LONGEST_VALUE, values=_LABEL_VALUE),
    )
    match_expressions: Annotated[tuple[LabelRequirement, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Conditions on labels. The default is none.",
        json_schema_extra=_rows(MOST_TERMS),
    )


class PodTerm(Model):
    """Pods near which the VM shall run, or shall not run. The pod of a VM has the labels of its template."""

    label_selector: LabelSelector | None = Field(
        default=None, description="The labels of the pods. The default is no pod."
    )
    namespace_selector: LabelSelector | None = Field(
        default=None,
        description="The labels of the namespaces of the pods. The default is none: only `namespaces` "
        "counts.",
    )
    namespaces: Values = Field(
        default=(),
        description="The namespaces of the pods. The default is that of the VM.",
        json_schema_extra=_rows(MOST_TERMS, longest=LONGEST_VALUE),
    )
    topology_key: str = Field(
        default="",
        description="The label of nodes that says what near means, such as kubernetes.io/hostname.",
        json_schema_extra={**REQUIRED, **_KEY},
    )


class PreferredPods(Model):
    """A term that is preferred."""

    weight: int = Field(
        default=1,
        description="How much the term counts: a number from 1 to 100.",
        json_schema_extra={**REQUIRED, "minimum": 1, "maximum": 100},
    )
    pod_affinity_term: PodTerm = Field(
        default=PodTerm(), description="The term that is preferred.", json_schema_extra=REQUIRED
    )


class PodAffinity(Model):
    """Terms about pods."""

    required_during_scheduling_ignored_during_execution: Annotated[
        tuple[PodTerm, ...], BeforeValidator(none_to_list)
    ] = Field(
        default=(),
        description="Terms that must hold. The default is none.",
        json_schema_extra=_rows(MOST_TERMS),
    )
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredPods, ...], BeforeValidator(none_to_list)
    ] = Field(
        default=(),
        description="Terms that should hold. The default is none.",
        json_schema_extra=_rows(MOST_TERMS),
    )


class Affinity(Model):
    """Where the VM may run, as in a pod."""

    node_affinity: NodeAffinity | None = Field(
        default=None, description="On which nodes the VM may run. The default is all nodes."
    )
    pod_affinity: PodAffinity | None = Field(
        default=None, description="Near which pods the VM shall run. The default is none."
    )
    pod_anti_affinity: PodAffinity | None = Field(
        default=None, description="Near which pods the VM shall not run. The default is none."
    )


class TolerationOperator(enum.StrEnum):
    """How the value of a taint is compared."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(enum.StrEnum):
    """The effects of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint of nodes on which the VM may run nevertheless."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                "a toleration has no key: write one, or operator: Exists for all taints",
            ),
            (
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "a toleration has the operator Exists and a value: remove one of the two",
            ),
            (
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds needs the effect NoExecute",
            ),
        )
    )

    key: str | None = Field(
        default=None,
        description="The key of the taint. The default is all taints, and then the operator must be Exists.",
        json_schema_extra={"maxLength": LONGEST_KEY},
    )
    operator: TolerationOperator | None = Field(
        default=None,
        description="Exists: any value. Equal: the given value. The default is Equal.",
    )
    value: str | None = Field(
        default=None,
        description="The value of the taint. The default is an empty text.",
        json_schema_extra={"maxLength": LONGEST_VALUE},
    )
    effect: TaintEffect | None = Field(
        default=None, description="The effect of the taint. The default is every effect."
    )
    toleration_seconds: int | None = Field(
        default=None,
        description="For how many seconds a taint with the effect NoExecute is tolerated. The default is no "
        "limit.",
        json_schema_extra={"minimum": 0},
    )


# --- the whole


class VirtualMachineSettings(Model):
    """What the new VM gets in addition to what it has at its source."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.runStrategy) || "
                "(self.runStrategy == 'Manual') == (has(self.powerState) && self.powerState == 'off')",
                "KubeVirt does not start a VM with runStrategy Manual, and starts one with any other: Manual "
                "needs powerState off, and the others must not have it",
            ),
        )
    )

    namespace: str | None = Field(
        default=None,
        description="The namespace of the new VM and its disks. Another namespace than that of the import "
        f"must allow it with the annotation {GROUP}/allowed-namespaces on the namespace. The default is the "
        "namespace of the import.",
        json_schema_extra={"minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
    )
    labels: TextMap = Field(
        default_factory=dict,
        description=f"Labels of the new VirtualMachine, at most {MOST_LABELS}. {_RESERVED} The default is "
        "none.",
        json_schema_extra=_texts(MOST_LABELS, LONGEST_VALUE, _NOT_RESERVED, values=_LABEL_VALUE),
    )
    annotations: TextMap = Field(
        default_factory=dict,
        description=f"Annotations of the new VirtualMachine, at most {MOST_ANNOTATIONS} with at most "
        f"{LONGEST_ANNOTATION} characters each. {_RESERVED} The default is none.",
        json_schema_extra=_texts(MOST_ANNOTATIONS, LONGEST_ANNOTATION, _NOT_RESERVED),
    )
    tag_labels: Annotated[tuple[TagLabelRule, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Labels of the new VirtualMachine from tags of the VM at its source. A label in `labels` "
        f"has precedence. A VM without the tag does not get the label. At most {MOST_RULES} rows. The "
        "default is none.",
        json_schema_extra={**_rows(MOST_RULES), **rules(_ONE_LABEL)},
    )
    instancetype: InstancetypeReference | None = Field(
        default=None,
        description="Target kubevirt: the instancetype that gives the VM its CPU and memory. Then spec.cpus "
        "and spec.memory must not be set. Harvester sets the CPU of each VM itself, so it cannot be used "
        "there. The default is the CPU and memory of the source.",
    )
    preference: PreferenceReference | None = Field(
        default=None,
        description="The preference of KubeVirt for what the import does not set. The default is none.",
    )
    run_strategy: RunStrategy | None = Field(
        default=None,
        description="When KubeVirt starts the new VM. Always: whenever it is stopped. RerunOnFailure: after "
        "a failure. Once: never again. Manual: never; it needs powerState off. The default is "
        "RerunOnFailure. A VM that stays off has Halted, or Manual.",
    )
    eviction_strategy: EvictionStrategy | None = Field(
        default=None,
        description="What happens to the running VM when its node is drained. The default is "
        "LiveMigrateIfPossible on Harvester, and that of the cluster on KubeVirt.",
    )
    node_selector: TextMap = Field(
        default_factory=dict,
        description="Labels that a node must have to run the VM. The default is none.",
        json_schema_extra=_texts(MOST_SELECTORS, LONGEST_VALUE, values=_LABEL_VALUE),
    )
    affinity: Affinity | None = Field(
        default=None,
        description="Where the VM may run, as the affinity of a pod. The default is anywhere. Harvester adds "
        "the nodes that have the VM's networks.",
    )
    tolerations: Annotated[tuple[Toleration, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description=f"Taints of nodes on which the VM may run nevertheless, at most {MOST_TOLERATIONS}. The "
        "default is none.",
        json_schema_extra=_rows(MOST_TOLERATIONS),
    )
    power_state: PowerState | None = Field(
        default=None,
        description='The state of the new VM after the import. "on": it is started. "off": it stays off. '
        "asSource: as it was at its source when the import began. Write on and off in quotation marks, "
        "because kubectl reads them as true and false without. The default is on, or off with "
        "spec.startVirtualMachine: false; only one of the two fields may be set.",
    )
    persistent_efi_variables: Flag | None = Field(
        default=None,
        description="Whether the variables of the EFI firmware, such as boot entries, outlive a stop of the "
        "VM. KubeVirt then needs a storage class for the state of VMs. It has no effect on a VM with BIOS. "
        "The default is false.",
    )
    patch: str | None = Field(
        default=None,
        description="Changes to the finished VirtualMachine: a JSON merge patch (RFC 7386) as YAML or JSON, "
        f"at most {LONGEST_PATCH} characters. It may change only the paths in the chart's value "
        "import.patchPaths: by default the CPU model, devices without access to the host, and scheduling. "
        "The default is no change.",
        json_schema_extra={"maxLength": LONGEST_PATCH},
    )
