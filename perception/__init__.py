"""Timestamped chunks to emotion states: no device, no thread, no wall clock, no torch."""
