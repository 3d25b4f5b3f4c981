"""Checkpoint to ONNX to bundle: edge-export."""
