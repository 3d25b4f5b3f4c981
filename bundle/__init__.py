"""What every other package agrees on: labels, feature definitions, the manifest. Standard library and NumPy only."""
