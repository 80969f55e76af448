"""What the machine has that this process runs on."""

from __future__ import annotations

import os


def main_memory() -> int:
    """Return the bytes of its main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
