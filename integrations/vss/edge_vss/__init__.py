"""Messages of edge-run as Vehicle Signal Specification signals in a KUKSA databroker."""
