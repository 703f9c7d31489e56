"""Profiles of an installation: scratch, placement of pods, transfer network and proxy, by name. Pure.

The installer defines them. An import, or its source, only names one: a tenant can neither choose nodes nor
attach a pod to a network. A run has the values of its profile in its request, so that a changed profile does
not reach it.
"""

from __future__ import annotations

from collections.abc import Iterator

from steps.model.naming import shown
from workflows.api.sources import Source
from workflows.settings import Profile, Settings


def chosen(settings: Settings, source: Source, wanted: str = "") -> str:
    """The name of the profile: that of the import, else that of its source, else the default; or empty.

    An import on a person's own computer has no pods, and uses the proxy of that computer.
    """
    if not settings.mounts_claims:
        return ""
    return wanted or source.spec.profile or settings.default_profile


def find(settings: Settings, name: str) -> Profile:
    """The profile with that name, which `reasons` has accepted; one without values for an empty name."""
    return settings.profiles.get(name, Profile())


def reasons(settings: Settings, at: str, name: str) -> Iterator[str]:
    """What is wrong with the name of a profile that stands at `at`."""
    if not name or name in settings.profiles or not settings.mounts_claims:
        return
    known = ", ".join(sorted(settings.profiles))
    there = f"this installation has: {known}" if known else "this installation has none; remove the field"
    yield f"{at} {shown(name)} is not a profile: {there}"
