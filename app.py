"""FSR Explorer: `python app.py`, `make demo`, or a Hugging Face Space."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from app.settings import Settings
from app.ui.page import build_app, launch_options


def main() -> None:
    settings = Settings.from_environment()
    build_app(settings).launch(**launch_options(settings))


if __name__ == "__main__":
    main()
