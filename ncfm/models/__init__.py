"""Architectures: one file per family and one registry; every model offers `features(x)` and `forward(x)`."""
