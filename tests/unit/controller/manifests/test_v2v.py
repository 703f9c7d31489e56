"""Manifests of `v2v.kubevirt.io` on the command line: run as they are, or corrected word for word.

`SEED` is the example of the design document of vm-import-operator, with its mistakes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from controller.manifests.environment import Environment
from controller.manifests.read import InvalidManifestsError, Manifests, read
from controller.manifests.resolve import Job, jobs
from steps.model.plan import Attachment, TargetKind
from steps.model.sources import SourceKind
from workflows.settings import Settings

IMPORT: Final = """\
apiVersion: v2v.kubevirt.io/v1beta1
kind: VirtualMachineImport
{metadata}:
  annotations:
    vmimport.v2v.kubevirt.io/progress: {progress}
  labels:
    vmimport.v2v.kubevirt.io/tracker: vmimport-123
  name: example-virtualmachineimport
  namespace: example-ns
{spec}:
  providerCredentialsSecret:
    name: my-secret-with-ovirt-credentials
    namespace: default
  targetVmName: examplevm
  startVm: true
  resourceMapping:
    name: example-ovirtresourcemappings
    namespace: othernamespace
  source:
    ovirt:
      vm:
        id: 80554327-0569-496b-bdeb-fcbbf52b827b
        name: myvm
        cluster:
          name: mycluster
          id: CC111111-1111-1111-1111-111111111111
      mappings:
        networkMappings:
        - source:
            name: red/profile1
{row}
        diskMappings:
        - source:
            id: 8181ecc1-5db8-4193-9c92-3ddab3be7b12
{disk}
"""
MAPPING: Final = """\
---
apiVersion: v2v.kubevirt.io/v1beta1
kind: ResourceMapping
metadata:
  name: example-ovirtresourcemappings
  namespace: othernamespace
{spec}:
  ovirt:
    networkMappings:
    - source:
        name: ovirtmgmt/ovirtmgmt
      {target}:
        name: pod
      type: pod
    storageMappings:
    - source:
        name: ovirt_storage_domain_1
      target: storage-class-1
"""
SECRET: Final = """\
---
apiVersion: v1
kind: Secret
metadata:
  name: my-secret-with-ovirt-credentials
type: Opaque
stringData:
  ovirt: |-
    apiUrl: "https://my.ovirt-engine-server/ovirt-engine/api/"
    username: admin@internal # provided in the format of username@domain
    password: 123456
    ca.cert: |
      -----BEGIN CERTIFICATE-----
      abc
      -----END CERTIFICATE-----
"""  # noqa: S105 - the example of the document
VSPHERE: Final = """\
apiVersion: v2v.kubevirt.io/v1beta1
kind: VirtualMachineImport
metadata: {name: example, namespace: example-ns}
spec:
  providerCredentialsSecret: {name: my-secret-with-vmware-credentials}
  resourceMapping: {name: example-vmware-resourcemappings}
  source: {vmware: {vm: {name: myvm}}}
---
apiVersion: v2v.kubevirt.io/v1beta1
kind: ResourceMapping
metadata:
 name: example-vmware-resourcemappings
 namespace: example-ns
spec:
  vmware:
    networkMappings:
    - source:
        name: VM Network # map network name to network attachment definition
      target: xyz
      type: multus
    - source:
        id: network-7 # alternatively the network can be mapped by managed object reference
      Target:
        name: pod
      type: pod
    storageMappings:
    - source:
        name: iSCSI_Datastore # maps disks in a given VMware datastore to a storage class
      target: storage_class_1
---
apiVersion: v1
kind: Secret
metadata:
 name: my-secret-with-vmware-credentials
 namespace: example-ns
type: Opaque
stringData:
 vmware: |-
   # API URL of the vCenter or ESXi host
   apiUrl: "https://my.vcenter.example.com/sdk"
   # Username provided in the format of username@domain.
   username: administrator@vsphere.local
   password: 123456
   # The certificate thumbprint of the vCenter or ESXi host, in colon-separated hexidecimal octets.
   thumbprint: 21:EA:74:11:59:89:5E:20:D5:D9:A2:39:5C:6A:2D:36:38:B2:52:2B
"""
"""The mapping and the Secret of the document for vSphere; it has no import for them."""
INSIDE: Final = "            target: xyz\n            type: multus"
SIBLINGS: Final = "          target: xyz\n          type: multus"
SEED: Final = (
    IMPORT.format(
        metadata="Metadata",
        spec="Spec",
        progress="20",
        row=INSIDE,
        disk="            target: local-storage",
    )
    + MAPPING.format(spec="Spec", target="Target")
    + SECRET
)
CORRECTED: Final = (
    IMPORT.format(
        metadata="metadata",
        spec="spec",
        progress='"20"',
        row=SIBLINGS,
        disk="          target: local-storage",
    )
    + MAPPING.format(spec="spec", target="target")
    + SECRET
)


def found(folder: Path, text: str) -> Manifests:
    file = folder / "all.yaml"
    file.write_text(text)
    return read([str(file)])


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidManifestsError) as caught:
        found(folder, text)
    return [fault.removeprefix(f"{folder}/all.yaml:") for fault in caught.value.faults]


def made(folder: Path, text: str) -> list[Job]:
    return jobs(found(folder, text), Environment(), Settings())


def refusal(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidManifestsError) as caught:
        made(folder, text)
    return caught.value.faults


def test_the_corrected_example_runs(tmp_path: Path) -> None:
    (job,) = made(tmp_path, CORRECTED)
    plan = job.plan
    assert (plan.vm, plan.folder) == ("80554327-0569-496b-bdeb-fcbbf52b827b", None)
    assert (plan.source.kind, plan.source.endpoint) == (
        SourceKind.OVIRT,
        "https://my.ovirt-engine-server/ovirt-engine/api/",
    )
    assert (plan.target.vm_name, plan.target.start, plan.target.kind) == (
        "examplevm",
        True,
        TargetKind.DIRECTORY,
    )
    networks = [(rule.source, rule.attachment, rule.destination) for rule in plan.target.networks]
    assert networks == [
        ("red/profile1", Attachment.NETWORK, "example-ns/xyz"),
        ("ovirtmgmt/ovirtmgmt", Attachment.POD, ""),
    ]
    (disk,) = plan.target.disks
    assert (disk.disk, disk.storage_class) == ("8181ecc1-5db8-4193-9c92-3ddab3be7b12", "local-storage")
    (storage,) = plan.target.storage
    assert (storage.source, storage.storage_class) == ("ovirt_storage_domain_1", "storage-class-1")
    assert job.credentials["username"] == b"admin@internal"
    assert job.credentials["password"] == b"123456"
    assert job.credentials["ca.cert"].startswith(b"-----BEGIN CERTIFICATE-----")


def test_the_example_gets_its_exact_corrections(tmp_path: Path) -> None:
    assert faults(tmp_path, SEED) == [
        "3: Metadata: write metadata",
        "10: Spec: write spec",
        "43: Spec: write spec",
    ]


def test_the_corrections_after_the_first_ones(tmp_path: Path) -> None:
    text = SEED.replace("Metadata:", "metadata:").replace("Spec:", "spec:")
    rows = "spec.source.ovirt.mappings"
    assert faults(tmp_path, text) == [
        f"31: {rows}.networkMappings.0.source.target: write target next to source, with the same indentation",
        f"32: {rows}.networkMappings.0.source.type: write type next to source, with the same indentation",
        f"36: {rows}.diskMappings.0.source.target: write target next to source, with the same indentation",
        '5: metadata.annotations.vmimport.v2v.kubevirt.io/progress: write "20" in quotes, or leave it out',
        "48: spec.ovirt.networkMappings.0.Target: write target",
    ]


def test_the_corrected_example_for_vsphere_runs(tmp_path: Path) -> None:
    assert faults(tmp_path, VSPHERE) == ["23: spec.vmware.networkMappings.1.Target: write target"]
    text = VSPHERE.replace("Target:", "target:")
    (fault,) = refusal(tmp_path, text)
    assert "storage_class_1" in fault  # no storage class can have that name
    (job,) = made(tmp_path, text.replace("storage_class_1", "storage-class-1"))
    networks = [
        (rule.source, rule.source_id, rule.attachment, rule.destination) for rule in job.plan.target.networks
    ]
    assert networks == [
        ("VM Network", "", Attachment.NETWORK, "example-ns/xyz"),
        ("", "network-7", Attachment.POD, ""),
    ]
    (storage,) = job.plan.target.storage
    assert (storage.source, storage.storage_class) == ("iSCSI_Datastore", "storage-class-1")
    assert (job.plan.source.kind, job.plan.source.endpoint) == (
        SourceKind.VMWARE,
        "https://my.vcenter.example.com/sdk",
    )
    thumbprint = b"21:EA:74:11:59:89:5E:20:D5:D9:A2:39:5C:6A:2D:36:38:B2:52:2B"
    assert job.credentials["thumbprint"] == thumbprint
    assert job.credentials["password"] == b"123456"
    assert not job.plan.target.start  # the default of that API


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("startVm: true", "startVM: true", "spec.startVM: write startVm"),
        ("targetVmName", "targetVMName", "spec.targetVMName: write targetVmName"),
        ("startVm: true", "start: true", "spec.start: unknown field"),
        ("networkMappings", "networkMapping", "networkMapping: unknown field"),
        ("v1beta1", "v1alpha1", "apiVersion: Input should be 'v2v.kubevirt.io/v1beta1'"),
    ],
)
def test_a_mistake(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert words in faults(tmp_path, CORRECTED.replace(old, new, 1))[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  name: my-secret-with", "  name: other-secret-with", "Secret default/my-secret-with-ovirt"),
        ("apiUrl:", "url:", "key ovirt: oVirt secret must contain apiUrl attribute"),
        (
            "  namespace: othernamespace\nspec",
            "  namespace: x\nspec",
            "ResourceMapping othernamespace/example",
        ),
        ("startVm: true", "warm: true", "spec.warm: vmferry has no warm import"),
        ("type: multus", "type: sriov", "type 'sriov' is not one of pod, multus"),
    ],
)
def test_what_cannot_run(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = CORRECTED
    if old.startswith("  name: my-secret"):
        head, _, tail = text.rpartition(old)
        text = f"{head}{new}{tail}"
    else:
        text = text.replace(old, new, 1)
    (fault,) = refusal(tmp_path, text)
    assert fault.startswith("VirtualMachineImport example-virtualmachineimport: ")
    assert words in fault
