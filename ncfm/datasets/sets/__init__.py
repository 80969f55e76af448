"""Data sets, one file each; each is declared in the ENTRIES of its file (ncfm/datasets/catalogue.py)."""
