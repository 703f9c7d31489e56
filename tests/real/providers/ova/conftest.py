"""What the unit tests of the provider have."""

from tests.unit.steps.providers.ova.conftest import access, no_thread_outlives, raws, refused, tls

__all__ = ["access", "no_thread_outlives", "raws", "refused", "tls"]
