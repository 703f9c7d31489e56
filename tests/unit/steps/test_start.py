"""What a step loads when it starts: an import starts a dozen of them."""

from __future__ import annotations

import subprocess
import sys


def test_a_step_does_not_load_the_colours_of_the_terminal() -> None:
    """Rich is installed here, and structlog would import it; the command line still uses it itself."""
    code = "import sys, steps.export; print(*sys.modules); import rich.console, structlog.dev"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "structlog.dev" in loaded
    assert not {"rich", "pygments"} & set(loaded)
