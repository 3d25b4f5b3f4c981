"""edge-bench: what this machine does, ours and the peer in one interleaved run."""
