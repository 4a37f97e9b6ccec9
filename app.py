"""FSR Explorer: `python app.py`, `make demo`, or a Hugging Face Space."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if hasattr(os, "getuid"):  # Gradio's own folder for uploads belongs to whoever started an app first
    os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / f"fsr-explorer-{os.getuid()}"))

from app.service import Service
from app.settings import Settings
from app.ui.page import build_app, launch_options


def main() -> None:
    settings = Settings.from_environment()
    service = Service(settings)

    def end(*_: object) -> None:
        service.close()  # what visitors brought
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    build_app(settings, service).launch(**launch_options(settings))


if __name__ == "__main__":
    main()
