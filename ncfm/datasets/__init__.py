"""Data sets: facts, sources, the stage `prepare`, and the reader of what it wrote."""
