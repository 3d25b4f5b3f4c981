"""edge-bench: what this machine does, ours and the peer in one interleaved run."""

from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo" / "driver.mp4"
"""A driver for some seconds, where no other clip is given."""
