"""INT8 on held-out subjects: ranges, Q/DQ graphs, and what they cost in accuracy."""
