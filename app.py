"""FSR Explorer: `python app.py`, `make demo`, or a Hugging Face Space."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported
if port := os.environ.pop("GRADIO_SERVER_PORT", ""):  # which Gradio reads while it is imported, and stumbles over
    os.environ.setdefault("FSR_PORT", port)
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Gradio asks its own server whether it is up, and a proxy to the world would not find that.
if (direct := os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "") != "*":
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{direct},127.0.0.1,localhost".lstrip(",")
if hasattr(os, "getuid"):  # Gradio's own folder for uploads belongs to whoever started an app first
    os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / f"fsr-explorer-{os.getuid()}"))

from app.zerogpu import is_zerogpu, lease_of_spaces

if is_zerogpu():
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # transformers' threads: the emulated CUDA is in this one alone
    import spaces  # type: ignore[import-not-found, unused-ignore] # noqa: F401 # before torch

from app.leases import Leases
from app.service import Service
from app.settings import Settings
from app.ui.page import build_app, launch_options
from fsr.errors import FsrError

FIRST_PORT, PORTS = 7860, 100


def main() -> int:
    """Serve the page until it is ended; 2 where it cannot start, with one sentence."""
    try:
        settings = Settings.from_environment()
        port = settings.port or free_port(settings.host)
        service = Service(settings)
        if is_zerogpu():
            service.leases = Leases(lease_of_spaces(), service.models, settings.first)
            service.models.reside()
        demo = build_app(settings, service)
    except FsrError as error:
        return refused(str(error))

    def end(*_: object) -> None:
        service.close()  # what visitors brought
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        demo.launch(**launch_options(settings, service) | {"server_port": port})
    except OSError:
        host = settings.host or "this machine"
        return refused(f"port {port} of {host} cannot be used; end what listens there, or set FSR_PORT to another.")
    return 0


def free_port(host: str) -> int:
    """7860, or the next port that nobody listens on, which is said."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host or "127.0.0.1", port))
            except socket.gaierror:
                raise FsrError(f"FSR_HOST must be an IPv4 address or the name of one, not {host!r}.") from None
            except OSError:
                continue
        if port != FIRST_PORT:
            print(f"Port {FIRST_PORT} is taken; the page is at port {port}.", flush=True)
        return port
    where = f" of {host}" if host else ""
    raise FsrError(
        f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1}{where} can be used; set FSR_PORT or FSR_HOST."
    )


def refused(why: str) -> int:
    print(f"FSR Explorer cannot start: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
