"""virt-v2v's messages, its command line, and what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from steps.model import conversion
from steps.model.adapting import NotAdaptableError
from steps.model.contract import Exit


@pytest.mark.parametrize(
    ("error", "code", "of_guest"),
    [
        (
            "inspection could not detect the source guest (or physical machine).\nNo root device found",
            16,
            True,
        ),
        ("inspection could not detect the source guest: field ‘i_arch’ was ‘unknown’", 16, True),
        ("virt-v2v is unable to convert this guest type (linux/alpinelinux)", 16, True),
        ("filesystem was mounted read-only, even though we asked for it to be mounted read-write.", 16, True),
        ("not enough free space for conversion on filesystem ‘/’.  21.9 MB free < 50 MB needed", 13, True),
        ("multi-boot operating systems are not supported by virt-v2v.", 15, True),
        ("no bootloader detected", 16, True),
        ("could not find key to open LUKS encrypted /dev/sda2.", 11, True),
        ("insufficient free space in the conversion server temporary directory /tmp (3M).", 13, False),
        ("libguestfs error: guestfs_launch failed.", 70, False),
        ("appliance closed the connection unexpectedly.", 70, False),
        ("nbdkit is not installed or not working.", 10, False),
        ("One of rhsrvany.exe or pvvxsvc.exe is missing in /usr/share/virt-tools.", 10, False),
        ("something that nobody has seen yet", 16, True),
    ],
)
def test_each_message_has_a_code(error: str, code: int, of_guest: bool) -> None:
    failure = conversion.failure([error], "", 1)
    assert failure.code == code
    assert isinstance(failure, NotAdaptableError) is of_guest
    assert conversion.clean(error)[:40] in failure.why
    assert failure.what


def test_a_message_only_on_standard_error_counts_too() -> None:
    assert conversion.failure([], "virt-v2v: could not read key from user\n", 1).code is Exit.INVALID


def test_the_last_error_counts_most() -> None:
    first, last = "guestfs_launch failed", "no bootloader detected"
    assert conversion.failure([first, last], "", 1).code is Exit.UNSUPPORTED
    assert conversion.failure([last, first], "", 1).code is Exit.INTERNAL


def test_a_killed_virt_v2v_is_tried_again() -> None:
    failure = conversion.failure(["no bootloader detected"], "", 137)
    assert failure.code is Exit.INTERNAL
    assert "signal 9" in failure.what


def test_without_any_message_the_code_is_the_message() -> None:
    assert "ended with code 1 and without a message" in conversion.failure([], "", 1).why


def test_a_text_of_the_guest_cannot_command_a_terminal() -> None:
    line = json.dumps({"message": "a\x1b[2J\nb" + "x" * 5000, "type": "error"})
    message = conversion.parsed(line)
    assert message is not None
    assert message.text.startswith("a?[2J b")
    assert len(message.text) <= conversion.LONGEST


@pytest.mark.parametrize("line", ["", "[", "[]", "1", '{"type": "error"}', '{"message": 3}', "[" * 100_000])
def test_what_is_no_message_is_left_out(line: str) -> None:
    assert conversion.parsed(line) is None


def test_progress_only_grows_and_knows_the_usual_messages() -> None:
    texts = (
        "Opening the source",
        "Inspecting the source",
        "Checking for sufficient free disk space in the guest",
        "Converting Debian GNU/Linux 12 (bookworm) to run on KVM",
        "Mapping filesystem data to avoid copying unused and blank areas",
        "Closing the overlay",
        "Finishing off",
    )
    found = [conversion.progress(conversion.Message("message", text)) for text in texts]
    percents = [one[0] for one in found if one is not None]
    assert len(percents) == len(texts)
    assert percents == sorted(percents)
    assert conversion.progress(conversion.Message("message", "This guest has virtio drivers.")) is None


def test_the_description_names_each_disk_and_nothing_of_the_source(tmp_path: Path) -> None:
    disks = [tmp_path / f"a'b&<{number}>" / "adapt.qcow2" for number in range(28)]
    rows = ET.fromstring(conversion.domain(disks)).findall("devices/disk")  # noqa: S314 - our own text
    assert [row.find("source").get("file") for row in rows] == list(map(str, disks))  # type: ignore[union-attr]
    names = [row.find("target").get("dev") for row in rows]  # type: ignore[union-attr]
    assert (names[0], names[25], names[26], names[27]) == ("sda", "sdz", "sdaa", "sdab")
    assert {row.find("driver").get("type") for row in rows} == {"qcow2"}  # type: ignore[union-attr]


def test_a_key_is_named_by_its_file_only(tmp_path: Path) -> None:
    key = tmp_path / "key-0"
    key.write_text("hunter2")
    argv = conversion.command(
        tmp_path / "x",
        tmp_path / "m",
        "/dev/sda1",
        {"/dev/sda2": key},
        ["52:54:00:aa:00:01:ip:192.0.2.1,,24"],
    )
    assert argv[argv.index("--key") + 1] == f"/dev/sda2:file:{key}"
    assert argv[argv.index("--root") + 1] == "/dev/sda1"
    assert argv[argv.index("--mac") + 1] == "52:54:00:aa:00:01:ip:192.0.2.1,,24"
    assert "hunter2" not in " ".join(argv)


@pytest.mark.parametrize(
    ("paths", "version", "expected"),
    [
        (["viostor/2k22/amd64/viostor.inf"], (10, 0), True),
        (["amd64/w10/viostor.inf"], (10, 0), True),
        (["viostor/w7/amd64/viostor.inf"], (10, 0), False),
        (["viostor/2k22/amd64/viostor.sys"], (10, 0), False),
        ([], (10, 0), False),
        (["viostor/2k22/amd64/viostor.inf"], (5, 1), False),
    ],
)
def test_virtio_win_has_drivers_for_a_version(
    paths: list[str], version: tuple[int, int], expected: bool
) -> None:
    assert conversion.has_drivers(paths, *version) is expected
