"""Architectures: families and one registry; every model offers `features(x)` and `forward(x)`."""
