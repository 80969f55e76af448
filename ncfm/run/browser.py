"""Opens a page in the user's browser as soon as its server answers; `ncfm ui` starts this beside MLflow's server."""

from __future__ import annotations

import os
import socket
import sys
import time
import webbrowser

PATIENCE = 60.0  # seconds that a server may take to start


def has_window() -> bool:
    """Say whether a browser could open a window here; one that draws in the terminal would be in the way."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))


def answers(port: int) -> bool:
    """Say whether something answers at a port of this machine."""
    with socket.socket() as server:
        return server.connect_ex(("127.0.0.1", port)) == 0


def main(page: str, port: int) -> None:
    """Open ``page`` once something answers at ``port`` of this machine, or give up silently after a minute."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if answers(port):
            webbrowser.open(page)
            return
        time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
