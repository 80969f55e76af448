"""Architectures, one file per family; each is declared in the ENTRIES of its file (ncfm/models/registry.py)."""
