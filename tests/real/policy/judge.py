"""Runs `policy-check` (tests/real/policy/go): the API server's own code evaluates admission policies."""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.real import goprogram

_SOURCES: Final = Path(__file__).parent / "go"

Json = dict[str, Any]
POD_NAME: Final = "authentication.kubernetes.io/pod-name"
"""What the API server knows of a token that belongs to a pod (kubernetes pkg/serviceaccount/util.go)."""


@dataclass(frozen=True)
class Request:
    """A write. `group` and `resource` are as in a Role; a creation has no `old`, a deletion no `new`."""

    group: str
    resource: str
    new: Json | None = None
    old: Json | None = None

    @property
    def operation(self) -> str:
        return "DELETE" if self.new is None else "CREATE" if self.old is None else "UPDATE"

    @property
    def namespace(self) -> str:
        return str((self.new or self.old or {})["metadata"].get("namespace", ""))


@dataclass(frozen=True)
class Client:
    """Who sends a request."""

    user: str
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@functools.cache
def program() -> Path:
    """The program; it is built if needed."""
    return goprogram.build("policy-check", _SOURCES)


def denials(policies: Path, requests: Sequence[tuple[Client, Request]]) -> list[list[str]]:
    """For each request the messages of the validations that it fails; none if it is allowed."""
    judge = _judge(policies, policies.read_text())
    assert judge.stdin is not None
    assert judge.stdout is not None
    assert judge.stderr is not None
    found: list[list[str]] = []
    for one in requests:
        judge.stdin.write(json.dumps(_document(*one)) + "\n")
        judge.stdin.flush()
        answer = judge.stdout.readline()
        assert answer, f"exit code {judge.wait()}: {judge.stderr.read()}"
        found.append(json.loads(answer)["denied"])
    return found


@functools.cache
def _judge(policies: Path, _text: str) -> subprocess.Popen[str]:
    """The running program, which has compiled this text of the policies: that takes most of its time."""
    pipe = subprocess.PIPE
    judge = subprocess.Popen(
        [program(), str(policies)], stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1
    )
    atexit.register(judge.communicate)  # closes its standard input, and waits for its end
    return judge


def _document(client: Client, request: Request) -> Json:
    return {
        "user": client.user,
        "extra": dict(client.extra),
        "operation": request.operation,
        "group": request.group,
        "version": "v1",
        "resource": request.resource,
        "kind": request.resource,
        "namespace": request.namespace,
        "name": str((request.new or request.old or {})["metadata"].get("name", "")),
        "object": request.new,
        "oldObject": request.old,
    }
