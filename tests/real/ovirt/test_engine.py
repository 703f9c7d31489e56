"""The stand-in's API: formats, sessions, search, `follow`, and what becomes of VMs.

One stand-in serves all tests here; each test changes only its own VM.
"""

from __future__ import annotations

import base64

import pytest

from tests.real.ovirt.client import Client, until
from tests.real.ovirt.conftest import Images, StartLab, machine
from tests.real.ovirt.inventory import made_id
from tests.real.ovirt.lab import Lab

OBJECT = "[Cannot shutdown VM. VM is not running.]"


@pytest.fixture(scope="module")
def lab(labs: StartLab, images: Images) -> Lab:
    inventory = {
        "clusters": [{"name": "Default"}, {"name": "Old", "bios_type": "i440fx_sea_bios"}],
        "networks": [{"name": "ovirtmgmt"}, {"name": "red", "profiles": [{"name": "one"}, {"name": "two"}]}],
        "storage_domains": [{"name": "fast"}, {"name": "slow"}],
        "vms": [
            machine(images, name="web", extra={"guest_operating_system": {"distribution": "Debian"}}),
            {"name": "twin", "cluster": "Default"},
            {"name": "twin", "cluster": "Old"},
            {"name": "Web 2", "status": "down", "nics": [{"network": "red/two"}, {}]},
            {"name": "lun", "disks": [{"storage_type": "lun", "alias": "direct"}], "status": "down"},
            {"name": "stubborn", "ignores_shutdown": True, "shutdown_seconds": 0.2},
            {"name": "no-acpi", "acpi": False, "stop_seconds": 0.1},
            {"name": "asleep", "status": "suspended"},
            {"name": "busy", "status": "image_locked"},
            {"name": "changed", "next_run": {"memory": 4 << 30}, "tpm": True},
            {"name": "power", "shutdown_seconds": 0.2, "start_seconds": 0.2},
        ],
    }
    return labs(inventory)


def vm_id(name: str, cluster: str = "Default") -> str:
    return made_id("vm", cluster, name)


def names(client: Client, **query: str) -> list[str]:
    answer = client.get("/vms", **query)
    assert answer.status == 200, answer.body
    return [vm["name"] for vm in answer.json.get("vm", [])]


def test_json_has_strings_only_and_leaves_out_empty_collections(client: Client) -> None:
    vm = client.get(f"/vms/{vm_id('web')}").json
    assert (vm["memory"], vm["stateless"]) == (str(1 << 30), "false")
    assert vm["cpu"]["topology"] == {"sockets": "1", "cores": "1", "threads": "1"}
    assert client.get(f"/vms/{vm_id('twin')}/nics").json == {}


def test_xml_has_ids_and_links_as_attributes(client: Client) -> None:
    answer = client.get(f"/vms/{vm_id('web')}", accept="application/xml")
    vm = answer.xml
    assert answer.headers["Content-Type"].startswith("application/xml")
    assert (vm.tag, vm.get("id"), vm.findtext("status")) == ("vm", vm_id("web"), "up")
    assert vm.find("link[@rel='diskattachments']") is not None
    assert client.get("/vms", accept="application/xml").xml.tag == "vms"


def test_some_devices_show_with_all_content_only(client: Client) -> None:
    path = f"/vms/{vm_id('changed')}"
    assert "tpm_enabled" not in client.get(path).json
    assert client.get(path, all_content="true").json["tpm_enabled"] == "true"


def test_a_change_for_the_next_start_shows_on_request(client: Client) -> None:
    path = f"/vms/{vm_id('changed')}"
    now, later = client.get(path).json, client.get(path, next_run="true").json
    assert now["next_run_configuration_exists"] == "true"
    assert (now["memory"], later["memory"]) == (str(1 << 30), str(4 << 30))


def test_guest_facts_go_when_the_vm_is_down(client: Client, lab: Lab) -> None:
    assert "guest_operating_system" in client.get(f"/vms/{vm_id('web')}").json
    lab.set_vm("web", status="down")
    try:
        assert "guest_operating_system" not in client.get(f"/vms/{vm_id('web')}").json
    finally:
        lab.set_vm("web", status="up")


def test_a_wrong_password_is_a_bad_request_with_the_reason(client: Client) -> None:
    answer = client.log_in("wrong")
    assert answer.status == 400
    assert answer.json["error_code"] == "access_denied"
    assert "Cannot authenticate user 'admin@internal'" in answer.json["error"]


def test_the_log_in_wants_exactly_one_accept_header(client: Client) -> None:
    answer = client.log_in(Accept="*/*")
    assert (answer.status, answer.json["error_code"]) == (400, "invalid_request")


def test_an_expired_or_ended_session_is_unauthorised(lab: Lab) -> None:
    first = Client(lab)
    assert first.get("").status == 200
    first.log_out()
    assert first.get("").status == 401
    second = Client(lab)
    lab.expire_sessions()
    assert second.get("").status == 401
    assert "WWW-Authenticate" in second.get("").headers


def test_a_name_and_password_work_without_a_session(client: Client, lab: Lab) -> None:
    for password, status in ((lab.password, 200), ("wrong", 401)):
        basic = base64.b64encode(f"{lab.username}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
        assert client.send("GET", lab.url, None, headers).status == status


def test_another_version_of_the_api_is_refused(client: Client, lab: Lab) -> None:
    headers = {"Authorization": f"Bearer {client.token}", "Version": "3"}
    assert client.send("GET", lab.url, None, headers).status == 400


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("name=web", ["web"]),
        ('name="Web 2"', ["Web 2"]),
        ("name=WEB", []),
        ("name=t*n", ["twin", "twin"]),
        ("name=twin and cluster=Old", ["twin"]),
        ("name=web or name=lun", ["web", "lun"]),
        ("status=image_locked", ["busy"]),
        ("name=no such", []),
        ("name=w* sortby name desc", ["web"]),
        ("asleep", ["asleep"]),
    ],
)
def test_a_search_finds(client: Client, search: str, found: list[str]) -> None:
    assert names(client, search=search) == found


def test_a_search_can_ignore_case_and_comes_in_pages(lab: Lab) -> None:
    client = Client(lab)
    assert names(client, search="name=WEB", case_sensitive="false") == ["web"]
    everything = names(client)
    pages = [names(client, search=f"page {page}", max="4") for page in (1, 2, 3)]
    assert [name for page in pages for name in page] == everything
    assert len(everything) == 11


@pytest.mark.parametrize("search", ["name=", "colour=red", "page x", "and name=web", 'name="web'])
def test_a_search_that_cannot_be_read_is_a_bad_request(lab: Lab, search: str) -> None:
    answer = Client(lab).get("/vms", search=search)
    assert (answer.status, answer.json["reason"]) == (400, "Operation Failed")


def test_follow_puts_what_is_referred_to_in_its_place(lab: Lab) -> None:
    follow = "nics.vnic_profile.network,disk_attachments.disk,cluster"
    vm = Client(lab).get(f"/vms/{vm_id('web')}", follow=follow).json
    (nic,) = vm["nics"]["nic"]
    assert nic["vnic_profile"]["network"]["name"] == "ovirtmgmt"
    first, second = vm["disk_attachments"]["disk_attachment"]
    assert (first["disk"]["alias"], second["disk"]["format"]) == ("system", "cow")
    assert vm["cluster"]["bios_type"] == "q35_ovmf"


@pytest.mark.parametrize(
    ("name", "follow"),
    [
        ("Web 2", "nics.vnic_profile"),  # its second NIC has none
        ("web", "disk_attachments.disk.storage_domains"),
        ("web", "os"),
        ("web", "nothing"),
    ],
)
def test_follow_of_what_has_no_link_fails_the_request(lab: Lab, name: str, follow: str) -> None:
    assert Client(lab).get(f"/vms/{vm_id(name)}", follow=follow).status == 500


def test_a_direct_lun_has_no_size_and_no_domain(lab: Lab) -> None:
    (disk,) = Client(lab).get("/disks", search="alias=direct").json["disk"]
    assert (disk["storage_type"], disk["lun_storage"]["type"]) == ("lun", "iscsi")
    assert "provisioned_size" not in disk
    assert "storage_domains" not in disk


def test_what_does_not_exist_is_not_found_without_a_body(lab: Lab) -> None:
    for path in ("/vms/00000000-0000-0000-0000-00000000dead", "/nothing", "/vms/x/nics"):
        answer = Client(lab).get(path)
        assert (answer.status, answer.body) == (404, b"")


def test_a_vm_is_shut_down_and_started_with_its_states_on_the_way(lab: Lab) -> None:
    client, path = Client(lab), f"/vms/{vm_id('power')}"
    answer = client.post(f"{path}/shutdown")
    assert (answer.status, answer.json["status"]) == (200, "complete")
    assert (
        client.get(answer.json["job"]["href"].removeprefix("/ovirt-engine/api")).json["status"] == "finished"
    )
    until(lambda: client.get(path).json["status"] == "down")
    refused = client.post(f"{path}/shutdown")
    assert (refused.status, refused.json["status"]) == (409, "failed")
    assert refused.json["fault"] == {"reason": "Operation Failed", "detail": OBJECT}
    assert client.post(f"{path}/start").status == 200
    refused = client.post(f"{path}/start")
    assert (refused.status, refused.json["status"]) == (409, "failed")
    assert refused.json["fault"]["detail"].startswith("[Cannot run VM because the VM is in ")
    until(lambda: client.get(path).json["status"] == "up")
    told = [event["code"] for event in client.get("/events").json["event"]]
    assert {"73", "61", "32"} <= set(told)
    power = lab.vm("power")
    assert (power["shutdowns"], power["stops"], power["starts"]) == (1, 0, 1)


def test_a_refused_action_is_a_fault_in_an_action_in_xml(lab: Lab) -> None:
    refused = Client(lab).post(f"/vms/{vm_id('busy')}/shutdown", accept="application/xml")
    assert (refused.status, refused.xml.tag) == (409, "action")
    assert refused.xml.findtext("fault/detail") == OBJECT


def test_a_guest_that_ignores_the_shutdown_is_up_again_until_it_is_stopped(lab: Lab) -> None:
    client, path = Client(lab), f"/vms/{vm_id('stubborn')}"
    client.post(f"{path}/shutdown")
    until(lambda: client.get(path).json["status"] == "up")
    client.post(f"{path}/stop")
    assert (lab.vm("stubborn")["shutdowns"], lab.vm("stubborn")["stops"]) == (1, 1)
    until(lambda: client.get(path).json["status"] == "down")


@pytest.mark.parametrize("name", ["no-acpi", "asleep"])
def test_a_guest_that_cannot_shut_down_is_stopped_instead(lab: Lab, name: str) -> None:
    client, path = Client(lab), f"/vms/{vm_id(name)}"
    assert client.post(f"{path}/shutdown").status == 200
    until(lambda: client.get(path).json["status"] == "down")


def test_an_account_without_the_permission_is_forbidden(lab: Lab) -> None:
    client = Client(lab)
    lab.set_lacks("shut_down", "disk")
    try:
        refused = client.post(f"/vms/{vm_id('twin')}/shutdown")
        assert (refused.status, refused.json["fault"]["detail"]) == (
            403,
            "[User is not authorized to perform this action.]",
        )
        assert client.download(lab.disk("system")["id"]).status == 403
    finally:
        lab.set_lacks()
    assert lab.vm(vm_id("twin"))["shutdowns"] == 0


def test_a_body_that_cannot_be_read_is_a_bad_request(lab: Lab) -> None:
    client = Client(lab)
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    for body in ("{", "[]", "1"):
        assert client.send("POST", f"{lab.url}/imagetransfers", body, headers).status == 400
    assert client.post("/imagetransfers").json["reason"] == "Incomplete parameters"
