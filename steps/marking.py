"""Marks a VM at its source after a success, and removes the mark for an undo.

Every part is idempotent, so a second call completes what a killed one began. A failure is part of the result:
the VM at the target runs already, and the exit handler must not fail because of a name at the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import structlog

from steps.model.contract import NoAnswerError, StepError
from steps.model.machine import Machine
from steps.model.restore import Restored
from steps.model.source_mark import MarkState, SourceMark
from steps.providers import Marker, Provider

log = structlog.get_logger()

Parts = Iterator[tuple[str, Callable[[], None]]]


def mark_source(provider: Provider, mark: SourceMark, machine: Machine) -> Restored:
    """Mark the VM. One that runs is left alone: somebody uses it, and without its NICs it would be cut off.

    Raises:
        NoAnswerError: the source does not answer; `with_source` waits for it.
    """
    name = machine.path or machine.name
    try:
        if provider.is_on(machine):
            return _failed(f"{name} runs at its source, so it is not marked; shut it down there")
        failures = _carry_out(_parts(provider.marker(machine), mark, machine))
    except NoAnswerError:
        raise
    except StepError as error:
        failures = [str(error)]
    if failures:
        log.warning(f"the VM at the source is not marked: {' | '.join(failures)}")
        return _failed(f"{name} is not marked at its source: {' | '.join(failures)}")
    log.info("the VM is marked at its source", vm=machine.name, mark=described(mark))
    return Restored(mark=MarkState.MARKED, mark_message=f"{name} is marked at its source: {described(mark)}")


def unmark_source(provider: Provider, mark: SourceMark, machine: Machine) -> Restored:
    """Remove the mark before the VM is started again: without its NICs it would be of no use.

    A tag that the VM may have had before the import stays.

    Raises:
        StepError: the error of the first part that fails.
    """
    marker, kept = provider.marker(machine), ""
    if mark.disconnect_nics:
        marker.connect_nics(connected=True)
    if mark.name_suffix:
        marker.rename(mark.renamed(machine.name, marker.longest_name), machine.name)
    if mark.tag and mark.tag == machine.absent_tag:
        marker.set_tag(mark.tag, present=False)
    elif mark.tag:
        kept = f"the tag {mark.tag} stays, because the VM may have had it before the import"
    log.info("the mark of the VM at the source is removed", vm=machine.name, kept=kept)
    return Restored(mark=MarkState.REMOVED, mark_message=kept)


def described(mark: SourceMark) -> str:
    """The parts of a mark, for a sentence."""
    parts = (
        f"tag {mark.tag}" if mark.tag else "",
        f"name ends with {mark.name_suffix}" if mark.name_suffix else "",
        "NICs disconnected" if mark.disconnect_nics else "",
    )
    return ", ".join(filter(None, parts))


def _parts(marker: Marker, mark: SourceMark, machine: Machine) -> Parts:
    """What is to be done, the most important part first."""
    if mark.disconnect_nics:
        yield "the NICs", lambda: marker.connect_nics(connected=False)
    if mark.name_suffix:
        wanted = mark.renamed(machine.name, marker.longest_name)
        yield "the name", lambda: marker.rename(machine.name, wanted)
    if mark.tag:
        yield "the tag", lambda: marker.set_tag(mark.tag, present=True)


def _carry_out(parts: Parts) -> list[str]:
    """Do each part, also after a failure of another; the failures."""
    failures = []
    for what, carry_out in parts:
        try:
            carry_out()
        except NoAnswerError:
            raise
        except StepError as error:
            failures.append(f"{what}: {error}")
    return failures


def _failed(message: str) -> Restored:
    return Restored(mark=MarkState.FAILED, mark_message=message)
