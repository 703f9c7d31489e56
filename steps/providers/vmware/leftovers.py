"""Leftovers of killed attempts at the source: their sessions, and with them their leases.

A lease is bound to the session that made it. Sessions are found by their User-Agent, which names run and step
(UserSession.userAgent); reading `SessionManager.sessionList` needs the privilege Sessions.TerminateSession,
so the key of the last session is also noted in a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import ValidationError
from pyVmomi import vim, vmodl

from steps.model.document import Document, write_atomically
from steps.providers import Access
from steps.providers.vmware import faults
from steps.providers.vmware.session import Session

log = structlog.get_logger()

NOTE_FILE: Final = "session.json"


class SessionNote(Document):
    """The current session's key, which can end it but not use it. Never the cookie."""

    endpoint: str
    key: str


def end_previous(session: Session, access: Access) -> None:
    """End the sessions of earlier attempts of this step, and record this session for the next attempt."""
    path = access.state_folder / NOTE_FILE
    keys = {listed.key for listed in _own_sessions(session) if listed.userAgent == session.user_agent}
    _end_sessions(session, {*keys, *_noted_keys(path, session)})
    access.state_folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, SessionNote(endpoint=str(session.endpoint), key=session.key).to_json(), mode=0o600)


def remove_note(access: Access) -> None:
    """Remove the note: its session has been closed."""
    (access.state_folder / NOTE_FILE).unlink(missing_ok=True)


def end_run(session: Session, run: str) -> list[str]:
    """End all other sessions of that run; returns messages about those that could not be ended."""
    run_mark = f" run={run} step="
    keys = {
        listed.key
        for listed in _own_sessions(session)
        if listed.userAgent.startswith("vmferry/") and run_mark in listed.userAgent
    }
    return _end_sessions(session, keys)


def _own_sessions(session: Session) -> list[Any]:
    """The account's own sessions; none if it lacks the privilege to list them."""
    with faults.as_step_error("cannot list the sessions", session.endpoint):
        try:
            sessions = list(session.content.sessionManager.sessionList)
        except (vim.fault.NoPermission, vmodl.fault.NotSupported):
            log.info("no privilege to list sessions: the session of a killed attempt ends when it expires")
            return []
    return [listed for listed in sessions if listed.userName == session.user]


def _end_sessions(session: Session, keys: set[str]) -> list[str]:
    failures = [_end_session(session, key) for key in sorted(keys - {session.key})]
    return [text for text in failures if text]


def _end_session(session: Session, key: str) -> str:
    """End one session (SessionManager.TerminateSession); returns the reason if that fails."""
    try:
        session.content.sessionManager.TerminateSession([key])
    except vmodl.MethodFault as fault:
        if faults.is_not_found(fault):
            return ""
        why = faults.text(fault)
        log.warning("could not end a session of an earlier attempt; it ends when it expires", why=why)
        return f"session {key[:8]}… at {session.endpoint}: {why}"
    log.info("ended the session that an earlier attempt left")
    return ""


def _noted_keys(path: Path, session: Session) -> set[str]:
    try:
        note = SessionNote.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return set()
    return {note.key} if note.endpoint == str(session.endpoint) else set()
