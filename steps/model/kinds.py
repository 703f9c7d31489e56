"""The kinds of Kubernetes objects that vmferry reads or writes. Pure.

They are listed here with their API paths, so no discovery request is needed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from steps.model.sources import SourceKind

Object = dict[str, Any]
"""An object of the API as JSON."""


GROUP: Final = "migration.harvesterhci.io"
"""The API group of our custom resources, which vm-import-controller has defined, and of our labels."""
API_VERSION: Final = f"{GROUP}/v1beta1"
V2V_GROUP: Final = "v2v.kubevirt.io"
"""The API group of kubevirt/vm-import-operator, whose resources are the second dialect of an import."""
V2V_API_VERSION: Final = f"{V2V_GROUP}/v1beta1"


class Kind(NamedTuple):
    """A kind of object and its API path."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """The name in a Role: `virtualmachineimages.harvesterhci.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def owner_reference(self, name: str, uid: str) -> Object:
        """A reference to an owner of this kind, without flags: the owner's deletion does not wait."""
        return {"apiVersion": self.api_version, "kind": self.kind, "name": name, "uid": uid}


CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
NODE: Final = Kind("v1", "Node", "nodes", namespaced=False)
POD: Final = Kind("v1", "Pod", "pods")
SERVICE: Final = Kind("v1", "Service", "services")
SECRET: Final = Kind("v1", "Secret", "secrets")
EVENT: Final = Kind("v1", "Event", "events")
RESOURCE_QUOTA: Final = Kind("v1", "ResourceQuota", "resourcequotas")
CLAIM: Final = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
PERSISTENT_VOLUME: Final = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
STORAGE_CLASS: Final = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
CSI_CAPACITY: Final = Kind("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities")
CSI_DRIVER: Final = Kind("storage.k8s.io/v1", "CSIDriver", "csidrivers", namespaced=False)
WORKFLOW: Final = Kind("argoproj.io/v1alpha1", "Workflow", "workflows")
WORKFLOW_TEMPLATE: Final = Kind("argoproj.io/v1alpha1", "WorkflowTemplate", "workflowtemplates")
IMPORT: Final = Kind(API_VERSION, "VirtualMachineImport", "virtualmachineimports")
V2V_IMPORT: Final = Kind(V2V_API_VERSION, "VirtualMachineImport", "virtualmachineimports")
RESOURCE_MAPPING: Final = Kind(V2V_API_VERSION, "ResourceMapping", "resourcemappings")
IMPORT_MAPPING: Final = Kind(API_VERSION, "ImportMapping", "importmappings")
IMPORT_HOOK: Final = Kind(API_VERSION, "ImportHook", "importhooks")
MIGRATION_PLAN: Final = Kind(API_VERSION, "MigrationPlan", "migrationplans")
IMPORTS: Final = {kind.api_version: kind for kind in (IMPORT, V2V_IMPORT)}
"""The kinds of imports, by the API version of their dialect."""
SOURCES: Final = {kind: Kind(API_VERSION, str(kind), f"{kind.lower()}s") for kind in SourceKind}
SECRET_SOURCES: Final = {
    SourceKind.VMWARE: Kind("v1", "VmwareSecret", "secrets"),
    SourceKind.OVIRT: Kind("v1", "OvirtSecret", "secrets"),
}
"""No kinds of the API: a Secret as the source of imports of `v2v.kubevirt.io`, by the kind of source."""
IMAGE: Final = Kind("harvesterhci.io/v1beta1", "VirtualMachineImage", "virtualmachineimages")
DATA_VOLUME: Final = Kind("cdi.kubevirt.io/v1beta1", "DataVolume", "datavolumes")
STORAGE_PROFILE: Final = Kind(
    "cdi.kubevirt.io/v1beta1", "StorageProfile", "storageprofiles", namespaced=False
)
CDI_CONFIG: Final = Kind("cdi.kubevirt.io/v1beta1", "CDIConfig", "cdiconfigs", namespaced=False)
BACKING_IMAGE: Final = Kind("longhorn.io/v1beta2", "BackingImage", "backingimages")
LONGHORN_NODE: Final = Kind("longhorn.io/v1beta2", "Node", "nodes")
LONGHORN_SETTING: Final = Kind("longhorn.io/v1beta2", "Setting", "settings")
MACHINE: Final = Kind("kubevirt.io/v1", "VirtualMachine", "virtualmachines")
INSTANCE: Final = Kind("kubevirt.io/v1", "VirtualMachineInstance", "virtualmachineinstances")
INSTANCE_PARTS: Final = Kind("subresources.kubevirt.io/v1", "VirtualMachineInstance", INSTANCE.plural)
"""Its subresources, such as the screenshot, which virt-api serves."""
MATCHERS: Final = {
    kind: Kind("instancetype.kubevirt.io/v1beta1", kind, f"{kind.lower()}s", namespaced="Cluster" not in kind)
    for kind in (
        *("VirtualMachineClusterInstancetype", "VirtualMachineInstancetype"),
        *("VirtualMachineClusterPreference", "VirtualMachinePreference"),
    )
}
"""Instancetypes and preferences of KubeVirt, by the name of their kind."""
NAD: Final = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "network-attachment-definitions")
REFERENCE_GRANT: Final = Kind("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", "referencegrants")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
CRD: Final = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
KINDS: Final = {
    (kind.api_version, kind.kind): kind
    for kind in (
        *(
            CONFIG_MAP,
            NAMESPACE,
            NODE,
            POD,
            SERVICE,
            SECRET,
            EVENT,
            RESOURCE_QUOTA,
            CLAIM,
            PERSISTENT_VOLUME,
            STORAGE_CLASS,
            CSI_CAPACITY,
            CSI_DRIVER,
            LEASE,
            DEPLOYMENT,
            CRD,
        ),
        *(
            WORKFLOW,
            WORKFLOW_TEMPLATE,
            *IMPORTS.values(),
            IMPORT_MAPPING,
            IMPORT_HOOK,
            MIGRATION_PLAN,
            RESOURCE_MAPPING,
            *SOURCES.values(),
        ),
        *MATCHERS.values(),
        *(
            IMAGE,
            DATA_VOLUME,
            STORAGE_PROFILE,
            CDI_CONFIG,
            BACKING_IMAGE,
            MACHINE,
            INSTANCE,
            NAD,
            REFERENCE_GRANT,
        ),
        *(LONGHORN_NODE, LONGHORN_SETTING),
    )
}


def kind_of(manifest: Object) -> Kind:
    return KINDS[manifest["apiVersion"], manifest["kind"]]
