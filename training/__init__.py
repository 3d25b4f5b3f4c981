"""Training and evaluation of the networks: edge-train, edge-evaluate."""
