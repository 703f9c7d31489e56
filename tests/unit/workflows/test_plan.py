from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.kinds import API_VERSION
from steps.model.plan import (
    Bus,
    ImportLimits,
    InterfaceModel,
    NamePolicy,
    NetworkPolicy,
    Plan,
    TargetPlan,
)
from steps.model.source_mark import SourceMark
from steps.model.sources import SourceKind
from tests.unit.builders import a_source, an_import
from workflows.api.sources import KubeVirtSource, OpenstackSource, OvaSource
from workflows.plan import Invalid, mark_reasons, plan, run_name, source_plan, source_reasons
from workflows.settings import Settings

OVA = "https://host/a.ova"


def planned(**spec: Any) -> Plan:
    return plan(an_import(**spec), a_source(), Settings())


def target(**spec: Any) -> TargetPlan:
    return planned(**spec).target


def test_a_plan_is_complete() -> None:
    made = planned(folder="prod")
    assert (made.vm, made.folder) == ("web01", "prod")
    assert (made.source.kind, made.source.datacenter) == (SourceKind.VMWARE, "DC0")
    assert made.source.endpoint == "https://vcenter.example/sdk"
    assert Plan.model_validate_json(made.to_json()) == made


def test_defaults_are_those_of_vm_import_controller() -> None:
    made = planned()
    assert (made.power.force, made.power.grace_seconds, made.skip_preflight_checks) == (False, 60, False)
    assert (made.target.default_bus, made.target.default_model) == (Bus.VIRTIO, InterfaceModel.VIRTIO)
    assert (made.target.start, made.target.storage_class) == (True, "")
    assert made.source.insecure_skip_tls_verify is False


@pytest.mark.parametrize(("given_", "wanted"), [(None, 60), (0, 60), (-5, 60), (1, 1), (3600, 3600)])
def test_a_grace_below_one_second_is_the_default(given_: int | None, wanted: int) -> None:
    assert planned(gracefulShutdownTimeoutSeconds=given_).power.grace_seconds == wanted


@pytest.mark.parametrize(("given_", "wanted"), [(None, True), (True, True), (False, False)])
def test_a_vm_is_started_by_default(given_: bool | None, wanted: bool) -> None:
    assert target(startVirtualMachine=given_).start is wanted


@pytest.mark.parametrize(("given_", "wanted"), [("vlan1", "default/vlan1"), ("infra/vlan1", "infra/vlan1")])
def test_a_bare_destination_is_in_the_namespace_of_the_import(given_: str, wanted: str) -> None:
    rows = [{"sourceNetwork": "a", "destinationNetwork": given_, "networkInterfaceModel": ""}]
    (rule,) = target(networkMapping=rows).networks
    assert (rule.destination, rule.model) == (wanted, None)


def test_settings_become_policies_of_the_target() -> None:
    settings = Settings(network_policy=NetworkPolicy.STRICT, name_policy=NamePolicy.STRICT)
    made = plan(an_import(), a_source(), settings).target
    assert (made.network_policy, made.name_policy) == (NetworkPolicy.STRICT, NamePolicy.STRICT)


def reasons(**spec: Any) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        planned(**spec)
    return caught.value.reasons


def row(source: str, destination: str) -> dict[str, str]:
    return {"sourceNetwork": source, "destinationNetwork": destination}


def test_all_reasons_are_reported_at_once() -> None:
    found = reasons(
        virtualMachineName="",
        targetVirtualMachineName="Not_Fit",
        sourceCluster={"apiVersion": "source.harvesterhci.io/v1beta1", "kind": "Vmware"},
        networkMapping=[row("a", "x/y/z"), row("b", "v"), row("b", "w"), row("", "v")],
    )
    wanted = ["virtualMachineName is empty", "is not migration.", "not RFC 1123", "'b' appears 2 times"]
    wanted += ["invalid destination network 'x/y/z' for 'a'", "has no sourceNetwork"]
    assert len(found) == len(wanted)
    assert all(text in reason for text, reason in zip(wanted, found, strict=True))


def test_an_inventory_path_names_the_vm_and_its_folder() -> None:
    made = planned(virtualMachineName="/DC0/vm/Rack1/deep")
    assert (made.vm, made.folder) == ("deep", "/DC0/vm/Rack1")


def test_an_inventory_path_in_another_folder_is_refused() -> None:
    (reason,) = reasons(virtualMachineName="/DC0/vm/Rack1/deep", folder="Rack2")
    assert "contradict each other" in reason
    assert "remove spec.folder" in reason


@pytest.mark.parametrize("destination", ["", "/", "a/", "/a", "a/b/c"])
def test_a_destination_is_a_name_or_namespace_and_name(destination: str) -> None:
    (reason,) = reasons(networkMapping=[row("a", destination)])
    assert reason.startswith(f"invalid destination network {destination!r}")


def test_a_duplicate_source_network_is_refused() -> None:
    (reason,) = reasons(networkMapping=[row("a", "v"), row("a", "v")])
    assert "source network 'a' appears 2 times" in reason


def test_a_source_without_endpoint_is_refused() -> None:
    with pytest.raises(Invalid, match=r"has no spec\.endpoint"):
        plan(an_import(), a_source(endpoint=""), Settings())


def of_kind(
    kind: type[OpenstackSource | OvaSource | KubeVirtSource], **spec: Any
) -> OpenstackSource | OvaSource | KubeVirtSource:
    metadata = {"name": "s"}
    given = {"apiVersion": API_VERSION, "kind": kind.__name__, "metadata": metadata, "spec": spec}
    return kind.model_validate(given)


@pytest.mark.parametrize(("kind", "field"), [(OpenstackSource, "endpoint"), (OvaSource, "url")])
def test_a_source_without_an_address_is_refused(kind: type[OpenstackSource | OvaSource], field: str) -> None:
    with pytest.raises(Invalid, match=f"{kind.__name__} s has no spec.{field}; write https://"):
        plan(an_import(), of_kind(kind), Settings())


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "/etc/passwd", "FILE:///a", "ftp://files/a.ova", "a.ova"]
)
def test_only_a_persons_own_computer_reads_files(url: str) -> None:
    """The plan refuses them too: a status of the source that says it is ready may be forged."""
    with pytest.raises(Invalid, match="serve the file over HTTP"):
        plan(an_import(), of_kind(OvaSource, url=url), Settings())
    assert plan(an_import(), of_kind(OvaSource, url=url), Settings(local_files=True)).source.endpoint == url


def test_the_limits_of_the_installation_reach_the_plan() -> None:
    limits = ImportLimits(max_disks=3)
    assert plan(an_import(), a_source(), Settings(limits=limits)).limits == limits


def test_an_openstack_source_is_resolved_with_defaults() -> None:
    given = of_kind(
        OpenstackSource, endpoint="https://k:5000/v3", region="RegionOne", uploadImageRetryCount=-1
    )
    made = plan(an_import(), given, Settings()).source
    assert (made.kind, made.endpoint, made.region) == (SourceKind.OPENSTACK, "https://k:5000/v3", "RegionOne")
    assert (made.interface, made.image_looks, made.image_pause) == ("public", None, 10)
    patient = {"uploadImageRetryCount": 90, "uploadImageRetryDelay": 20, "interface": "internal"}
    made = plan(an_import(), of_kind(OpenstackSource, endpoint="https://k", **patient), Settings()).source
    assert (made.interface, made.image_looks, made.image_pause) == ("internal", 90, 20)


def test_an_unknown_openstack_interface_is_refused() -> None:
    with pytest.raises(Invalid, match="'privat' is not one of public, internal, admin"):
        plan(an_import(), of_kind(OpenstackSource, endpoint="https://k", interface="privat"), Settings())


@pytest.mark.parametrize(("given", "wanted"), [(None, None), (0, None), (-1, None), (3600, 3600)])
def test_a_download_has_no_time_limit_by_default(given: int | None, wanted: int | None) -> None:
    source = of_kind(OvaSource, url="https://host/a.ova", httpTimeoutSeconds=given)
    made = plan(an_import(), source, Settings()).source
    assert (made.kind, made.endpoint, made.download_seconds) == (SourceKind.OVA, "https://host/a.ova", wanted)


def test_hosts_of_redirects_reach_the_plan_of_an_ova() -> None:
    named = ["cdn.example.net", "*.s3.example.com"]
    assert source_plan(of_kind(OvaSource, url=OVA, redirectHosts=named)).redirect_hosts == tuple(named)
    assert source_plan(of_kind(OvaSource, url=OVA, redirectHosts=None)).redirect_hosts == ()


def test_each_host_of_redirects_that_is_none_is_reported() -> None:
    wrong = ["https://cdn.example.net", "cdn.example.net:443", "", "a\nb", "x" * 300]
    found = list(source_reasons(of_kind(OvaSource, url=OVA, redirectHosts=["cdn.example.net", *wrong])))
    assert len(found) == len(wrong)
    assert found[0] == (
        "spec.redirectHosts: 'https://cdn.example.net' is not a host; write HOST, *.DOMAIN for all hosts "
        "of a domain, or * for all hosts"
    )
    assert max(map(len, found)) < 300
    many = of_kind(OvaSource, url=OVA, redirectHosts=["cdn.example.net"] * 65)
    assert list(source_reasons(many)) == ["spec.redirectHosts has 65 entries; write at most 64"]


def test_a_source_on_kubevirt_reaches_the_plan() -> None:
    spec = {"namespace": "shop", "exportAddress": "https://export.example", "exportThumbprint": "aa"}
    made = source_plan(of_kind(KubeVirtSource, endpoint="https://api:6443", **spec))
    assert (made.kind, made.endpoint, made.vm_namespace) == (SourceKind.KUBEVIRT, "https://api:6443", "shop")
    assert (made.export_address, made.thumbprint) == ("https://export.example", "aa")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"endpoint": ""}, "has no spec.endpoint"),
        ({"endpoint": "http://api:6443"}, "spec.endpoint 'http://api:6443' is not an https URL"),
        ({"endpoint": "https://u:p@api"}, "is not an https URL"),
        ({"namespace": "../kube-system"}, "spec.namespace '../kube-system' is not a valid namespace"),
        ({"exportAddress": "export.example"}, "spec.exportAddress 'export.example' is not an https URL"),
        ({"exportAddress": "https://["}, "is not an https URL"),
        ({"exportThumbprint": "aa"}, "spec.exportThumbprint is set, but spec.exportAddress is not"),
    ],
)
def test_a_source_on_kubevirt_that_is_wrong_is_reported(spec: dict[str, str], why: str) -> None:
    (reason,) = source_reasons(of_kind(KubeVirtSource, **{"endpoint": "https://api:6443", **spec}))
    assert why in reason


@given(st.text(), st.text(), st.integers(1, 10**9))
def test_the_name_of_a_run_leaves_room_for_node_names(name: str, uid: str, generation: int) -> None:
    made = run_name(name, uid, generation)
    assert re.fullmatch(r"vmi-[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?-[0-9a-f]{8}-g[0-9]+", made)
    assert made == run_name(name, uid, generation)
    assert made != run_name(name, uid, generation + 1)


def test_the_mark_of_the_source_reaches_the_plan() -> None:
    made = planned(markSource={"tag": "state:moved", "nameSuffix": "-imported", "disconnectNics": True})
    assert made.mark == SourceMark(tag="state:moved", name_suffix="-imported", disconnect_nics=True)
    assert "mark" not in json.loads(planned(markSource={}).to_json())


@pytest.mark.parametrize("name", ["tag", "nameSuffix"])
@pytest.mark.parametrize("text", ["a/b", "a,b", " a", "a\n", "x" * 61, "a%2f", "\\"])
def test_a_mark_that_no_source_takes_is_refused(name: str, text: str) -> None:
    with pytest.raises(Invalid, match=rf"spec\.markSource\.{name}"):
        planned(markSource={name: text})


@pytest.mark.parametrize("tag", [".", ".."])
def test_a_tag_that_is_a_step_in_a_path_is_refused(tag: str) -> None:
    """A client shortens `…/servers/ID/tags/..` to the address of the server itself."""
    with pytest.raises(Invalid, match=r"spec\.markSource\.tag '\.+' cannot be used"):
        planned(markSource={"tag": tag})
    assert planned(markSource={"nameSuffix": tag}).mark.name_suffix == tag


@pytest.mark.parametrize("kind", list(SourceKind))
def test_a_mark_is_refused_for_sources_where_it_makes_no_sense(kind: SourceKind) -> None:
    spec = an_import(markSource={"disconnectNics": True}).spec
    reasons = list(mark_reasons(spec, kind))
    assert bool(reasons) is (kind in (SourceKind.OVA, SourceKind.KUBEVIRT))
    assert all(f"spec.markSource does not work for {kind}: " in reason for reason in reasons)
    assert list(mark_reasons(an_import(markSource={"disconnectNics": False}).spec, kind)) == []


def bare_source(*disks: dict[str, str], **spec: Any) -> OvaSource:
    return OvaSource.model_validate(
        {
            "apiVersion": API_VERSION,
            "kind": "OvaSource",
            "metadata": {"name": "images"},
            "spec": {"disks": list(disks), **spec},
        }
    )


def test_bare_disks_are_resolved() -> None:
    digest = f"sha256:{'A' * 64}"
    made = source_plan(
        bare_source(
            {"url": "https://host/system.qcow2?key=1", "checksum": digest},
            {"url": "https://other/data.vhd"},
            {"url": "https://other/raw.IMG.GZ", "capacity": "1000k"},
            {"url": "https://other/download", "format": "vmdk"},
            firmware="efi",
            networks=["red"],
        )
    )
    assert made.endpoint == "https://host/system.qcow2?key=1"
    assert [(disk.format, disk.is_gzip, disk.capacity, disk.checksum) for disk in made.disks] == [
        ("qcow2", False, None, digest.lower()),
        ("vpc", False, None, ""),
        ("raw", True, 1000448, ""),
        ("vmdk", False, None, ""),
    ]
    assert (made.firmware, made.bare_networks) == ("efi", ("red",))
    assert "firmware" not in json.loads(source_plan(a_source()).to_json())


@pytest.mark.parametrize(
    ("disk", "spec", "why"),
    [
        ({"url": "https://host/a.img"}, {"url": OVA}, "spec.url and spec.disks exclude each other"),
        ({"url": "https://host/a.bin"}, {}, "spec.disks[0]: the format of 'a.bin' is not known"),
        ({"url": "https://host/a.img.gz"}, {}, "spec.disks[0]: the size of a compressed raw disk"),
        (
            {"url": "https://host/a.img", "capacity": "much"},
            {},
            "spec.disks[0].capacity 'much' is not a size",
        ),
        ({"url": "https://host/a.img", "checksum": "md4:12"}, {}, "spec.disks[0].checksum 'md4:12' is not"),
        ({"url": "file:///etc/shadow", "format": "raw"}, {}, "spec.disks[0].url 'file:///etc/shadow' is not"),
        ({"url": "/etc/shadow", "format": "raw"}, {}, "in a cluster no local file is read"),
        ({"format": "raw"}, {}, "OvaSource images has no spec.disks[0].url"),
        ({"url": "https://host/a.img"}, {"networks": [" "]}, "spec.networks[0] ' ' is not the name"),
    ],
)
def test_a_list_of_disks_that_cannot_be_used_is_refused(
    disk: dict[str, str], spec: dict[str, Any], why: str
) -> None:
    assert why in " | ".join(source_reasons(bare_source(disk, **spec)))


def test_every_disk_of_a_list_is_checked() -> None:
    source = bare_source({"url": "https://host/a.img"}, {"url": "/etc/shadow", "format": "raw"})
    assert "spec.disks[1].url '/etc/shadow'" in " | ".join(source_reasons(source))
    assert list(source_reasons(source, local_files=True)) == []


def test_settings_of_bare_disks_without_disks_are_refused() -> None:
    reasons = list(source_reasons(bare_source(url=OVA, firmware="efi")))
    assert reasons == ["spec.firmware and spec.networks are only for spec.disks: a package has its own"]
