"""What every other package agrees on: labels, feature definitions, the manifest. Standard library and NumPy only."""

import os

# ONNX Runtime's Linux builds of 2026 write usage data to ~/.cache/Microsoft and send them, unless told before import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
