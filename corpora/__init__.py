"""Readers of the corpora, one file each, and their subject-disjoint folds. NumPy out, never torch."""
