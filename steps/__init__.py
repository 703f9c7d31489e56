"""The stages of an import as small programs, and the documents that they exchange."""

import sys

__version__ = "0.1.0"


def _import_structlog() -> None:
    """Import structlog without rich: a step starts a sixth faster.

    structlog imports rich, if it is installed, to colour a terminal. vmferry never lets it do that.
    """
    rich = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it is now an ImportError
    try:
        import structlog  # noqa: F401, PLC0415
    finally:
        del sys.modules["rich"]
        if rich is not None:
            sys.modules["rich"] = rich


_import_structlog()
