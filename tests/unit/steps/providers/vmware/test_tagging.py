"""Tags over vCenter's Automation API, in its newer and its older form; the session is always ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Tag
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.tagging import LONGEST_ANSWER, MOST_TAGS, Reply, read_tags

LOGIN: Final = Credentials(username="u@vsphere.local", password="p:ä")  # noqa: S106
CATEGORIES: Final = {"c1": "Environment", "c2": "Owner"}


@dataclass
class VCenter:
    """The calls of com.vmware.cis.session and com.vmware.cis.tagging that are used."""

    is_old: bool = False
    tags: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {"t1": ("c1", "live"), "t2": ("c2", "shop")}
    )
    calls: list[str] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    sessions: int = 0

    def __call__(  # noqa: PLR0911 - one line for each call
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        self.calls.append(f"{method} {path}")
        if path.startswith("/api/") and self.is_old:
            return Reply(404, b"<html>")
        path = path.removeprefix("/api").removeprefix("/rest/com/vmware")
        if path.endswith("/session"):
            return self._session(method, headers)
        assert headers["vmware-api-session-id"] == "token-1"
        if self.status != 200:
            return Reply(self.status, b"{}")
        if self.body is not None:
            return Reply(200, self.body)
        if "tag-association" in path:
            assert json.loads(body or b"") == {"object_id": {"id": "vm-42", "type": "VirtualMachine"}}
            assert ("?~action=" in path) is self.is_old
            return self._reply(list(self.tags))
        kind, _, key = path.removeprefix("/cis/tagging/").partition("/")
        key = key.removeprefix("id:") if self.is_old else key
        if kind == "tag":
            category, name = self.tags[key]
            return self._reply({"id": key, "name": name, "category_id": category})
        return self._reply({"id": key, "name": CATEGORIES[key]})

    def _session(self, method: str, headers: Mapping[str, str]) -> Reply:
        if method == "DELETE":
            self.sessions -= 1
            return self._reply(None)
        assert headers["Authorization"] == "Basic dUB2c3BoZXJlLmxvY2FsOnA6w6Q="
        self.sessions += 1
        return self._reply("token-1")

    def _reply(self, value: Any) -> Reply:
        return Reply(200, json.dumps({"value": value} if self.is_old else value).encode())


@pytest.mark.parametrize("is_old", [False, True])
def test_tags_have_the_name_of_their_category(is_old: bool) -> None:
    vcenter = VCenter(is_old=is_old)
    found = read_tags(vcenter, LOGIN, "vm-42")
    assert found == (Tag(name="Environment", value="live"), Tag(name="Owner", value="shop"))
    assert vcenter.sessions == 0


def test_a_category_is_read_once() -> None:
    vcenter = VCenter(tags={f"t{number}": ("c1", f"v{number}") for number in range(5)})
    assert len(read_tags(vcenter, LOGIN, "vm-42")) == 5
    assert sum("/category/" in call for call in vcenter.calls) == 1


def test_only_some_of_very_many_tags_are_read() -> None:
    vcenter = VCenter(tags={f"t{number}": ("c1", "x") for number in range(MOST_TAGS + 50)})
    assert len(read_tags(vcenter, LOGIN, "vm-42")) == MOST_TAGS


@pytest.mark.parametrize(
    ("status", "code"), [(401, Exit.DENIED), (403, Exit.DENIED), (503, Exit.UNREACHABLE)]
)
def test_a_refusal_ends_the_session(status: int, code: Exit) -> None:
    vcenter = VCenter(status=status)
    with pytest.raises(StepError) as caught:
        read_tags(vcenter, LOGIN, "vm-42")
    assert caught.value.code is code
    assert vcenter.sessions == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{}", b'"text"', b"[" * 100_000, b"\xff", b"[]" + b" " * LONGEST_ANSWER, b"[1, {}]"],
)
def test_an_answer_that_cannot_be_used_is_an_error_and_not_an_empty_list(body: bytes) -> None:
    vcenter = VCenter(body=body)
    with pytest.raises(StepError, match="cannot read the tags of the VM"):
        read_tags(vcenter, LOGIN, "vm-42")
    assert vcenter.sessions == 0
