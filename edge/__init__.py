"""Devices, threads and publishers: what makes a runtime of perception."""
