"""Where this machine keeps what was made of bundles."""

import os
from pathlib import Path


def engine_folder() -> Path:
    """Where engines are kept: $XDG_CACHE_HOME/edge-emotion/engines, or below ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "edge-emotion" / "engines"
