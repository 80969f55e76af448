"""Architectures, each declared in the ENTRIES of a file here (ncfm/models/registry.py)."""
