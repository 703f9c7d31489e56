"""Image transfers: phases, time-outs, tickets, locks, with the real daemon and qemu-nbd."""

from __future__ import annotations

import json
import time

import pytest

from tests.real.ovirt.client import Client, until
from tests.real.ovirt.conftest import MIB, Images
from tests.real.ovirt.lab import Lab

OVER = ("finished_success", "finished_failure")


def test_ranges_of_a_chain_are_those_of_the_flattened_disk(lab: Lab, client: Client, images: Images) -> None:
    url = client.transfer(lab.disk("data")["id"])["transfer_url"]

    options = client.send("OPTIONS", url, None, {}).json
    assert {"extents", "checksum"} <= set(options["features"])
    extents = json.loads(client.send("GET", f"{url}/extents", None, {}).body)
    assert sum(extent["length"] for extent in extents) == images.size
    copied = bytearray(images.size)
    for extent in extents:
        if not extent["zero"]:
            end = extent["start"] + extent["length"]
            part = client.read(url, extent["start"], end - 1)
            assert part.status == 206
            copied[extent["start"] : end] = part.body
    assert bytes(copied) == images.raw.read_bytes()
    assert client.read(url, images.size, images.size + 511).status == 416


def test_several_readers_use_one_ticket(lab: Lab, client: Client) -> None:
    url = client.transfer(lab.disk("system")["id"])["transfer_url"]
    assert client.send("OPTIONS", url, None, {}).json["max_readers"] == 2


def test_without_a_format_the_file_itself_is_served(lab: Lab, client: Client) -> None:
    transfer = client.transfer(lab.disk("data")["id"], format="")
    assert (transfer["format"], lab.servers()) == ("cow", [])
    assert client.read(transfer["transfer_url"], 0, 3).body == b"QFI\xfb"


def test_a_disk_is_locked_until_its_transfer_ends(lab: Lab, client: Client) -> None:
    disk = lab.disk("system")
    transfer = client.transfer(disk["id"])

    second = client.download(disk["id"])
    assert (second.status, lab.disk("system")["status"]) == (409, "locked")
    assert second.json["detail"] == (
        "[Cannot transfer Virtual Disk: The following disks are locked: system."
        " Please try again in a few minutes.]"
    )
    vm = lab.vm("web")["id"]
    locked = "[Cannot run VM: The following disks are locked: system. Please try again in a few minutes.]"
    assert client.post(f"/vms/{vm}/start").json["fault"]["detail"] == locked

    client.post(f"/imagetransfers/{transfer['id']}/cancel")
    ended = client.until_phase(transfer["id"], *OVER)
    assert (ended["phase"], lab.disk("system")["status"], lab.servers()) == ("finished_failure", "ok", [])
    assert "transfer_url" not in ended
    gone = client.read(transfer["transfer_url"], 0, 511)
    assert gone.status == 403


def test_the_disk_of_a_running_vm_is_refused(lab: Lab, client: Client) -> None:
    lab.set_vm("web", status="up")
    before = lab.transfers()
    refused = client.download(lab.disk("system")["id"])
    text = "[Cannot transfer Virtual Disk. The disk system is plugged to non-Down VMs: web]"
    assert (refused.status, refused.json["detail"]) == (409, text)
    assert lab.transfers() == before


def test_an_illegal_disk_is_an_internal_error_as_in_the_engine(lab: Lab, client: Client) -> None:
    lab.set_disk("system", "illegal")
    refused = client.download(lab.disk("system")["id"])
    assert refused.status == 500
    assert "ILLEGAL status: system" in refused.json["detail"]


def test_a_transfer_that_nobody_reads_is_cancelled(lab: Lab, client: Client) -> None:
    transfer = client.transfer(lab.disk("system")["id"], inactivity_timeout=1, timeout_policy="cancel")

    def ended() -> bool:
        client.post(f"/imagetransfers/{transfer['id']}/extend")  # has no effect on an idle ticket
        return client.get(f"/imagetransfers/{transfer['id']}").json["phase"] in OVER

    until(ended)
    found = lab.transfers()[-1]
    assert found["phases"][-3:] == ["cancelled_system", "finalizing_failure", "finished_failure"]
    assert lab.disk("system")["status"] == "ok"


def test_a_transfer_with_another_policy_is_paused_and_resumed(lab: Lab, client: Client) -> None:
    transfer = client.transfer(lab.disk("system")["id"], inactivity_timeout=1, timeout_policy="pause")
    paused = client.until_phase(transfer["id"], "paused_system")
    assert lab.disk("system")["status"] == "locked"
    assert client.post(f"/imagetransfers/{paused['id']}/resume").status == 200
    until(lambda: "resuming" in lab.transfers()[-1]["phases"])
    client.post(f"/imagetransfers/{paused['id']}/finalize")
    assert client.until_phase(paused["id"], *OVER)["phase"] == "finished_success"


def test_a_read_makes_a_ticket_busy_and_extend_does_not(lab: Lab, client: Client) -> None:
    transfer = client.transfer(lab.disk("system")["id"])
    until(lambda: lab.transfers()[-1]["idle"] >= 2)
    client.post(f"/imagetransfers/{transfer['id']}/extend")
    assert lab.transfers()[-1]["idle"] >= 2
    began = time.monotonic()
    client.read(transfer["transfer_url"], 0, 511)
    # the daemon counts whole seconds
    assert lab.transfers()[-1]["idle"] <= time.monotonic() - began + 1


def test_a_ticket_expires_unless_the_engine_extends_it(lab: Lab, client: Client) -> None:
    lab.settings(ticket_seconds=2, ticket_refresh_seconds=-1)
    url = client.transfer(lab.disk("system")["id"])["transfer_url"]

    def status_after_silence() -> int:
        time.sleep(3)  # each read prolongs the ticket, so that it expires only in a pause
        return client.read(url, 0, 511).status

    until(lambda: status_after_silence() == 403)

    lab.settings(ticket_refresh_seconds=1)
    until(lambda: client.read(url, 0, 511).status == 206)  # extended: the ticket lives again


def test_a_complete_download_is_finalised_by_the_engine(lab: Lab, client: Client, images: Images) -> None:
    transfer = client.transfer(lab.disk("system")["id"])
    assert client.send("GET", transfer["transfer_url"], None, {}).body == images.raw.read_bytes()
    assert client.until_phase(transfer["id"], *OVER)["phase"] == "finished_success"
    late = client.post(f"/imagetransfers/{transfer['id']}/finalize")
    assert (late.status, late.json["status"]) == (200, "complete")


def test_old_engines_remove_a_finished_transfer(lab: Lab, client: Client) -> None:
    lab.settings(keep_finished=False)
    transfer = client.transfer(lab.disk("system")["id"])
    client.post(f"/imagetransfers/{transfer['id']}/finalize")
    until(lambda: client.get(f"/imagetransfers/{transfer['id']}").status == 404)
    assert lab.disk("system")["status"] == "ok"


def test_a_revoked_ticket_ends_the_transfer(lab: Lab, client: Client) -> None:
    transfer = client.transfer(lab.disk("system")["id"])
    assert client.read(transfer["transfer_url"], 0, 511).status == 206
    lab.revoke_tickets(transfer["image"]["id"])
    assert client.read(transfer["transfer_url"], 0, 511).status == 403
    assert client.until_phase(transfer["id"], *OVER)["phase"] == "finished_failure"


def test_the_proxy_serves_when_the_host_cannot_be_reached(lab: Lab, client: Client, images: Images) -> None:
    lab.settings(host_refuses=True)
    transfer = client.transfer(lab.disk("system")["id"])
    with pytest.raises(ConnectionRefusedError):
        client.read(transfer["transfer_url"], 0, 511)
    part = client.read(transfer["proxy_url"], 5 * MIB, 5 * MIB + 1023)
    assert part.body == images.raw.read_bytes()[5 * MIB : 5 * MIB + 1024]


def test_a_download_cannot_be_paused_by_its_client(lab: Lab, client: Client) -> None:
    transfer = client.transfer(lab.disk("system")["id"])
    refused = client.post(f"/imagetransfers/{transfer['id']}/pause")
    # a fault of its own, not one in an action as for VMs
    assert (refused.status, refused.json["reason"]) == (400, "Operation Failed")
    refused = client.post(f"/imagetransfers/{transfer['id']}/resume")
    assert (refused.status, refused.json["reason"]) == (409, "Operation Failed")
