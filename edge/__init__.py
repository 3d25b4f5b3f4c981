"""Devices, threads, GPU engines and publishers: what makes a runtime of perception."""
