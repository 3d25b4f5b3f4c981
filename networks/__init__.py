"""PyTorch networks, one file each. No data, no files, no kernels."""
