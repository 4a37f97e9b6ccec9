"""Every setting and every limit of the app, read from the environment once."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fsr.tokens import InvalidInput

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Settings:
    """Environment variable: FSR_ and the field's name in capitals, e.g. FSR_MODEL, FSR_MAX_UPLOAD_MB.

    model: what answers at first: "shapes" (embedded), a checkpoint directory, or a hub id. models: further ones that
    visitors may choose, separated by commas. device, dtype: empty for the model's own default.
    """

    model: str = "shapes"
    models: str = ""
    device: str = ""
    dtype: str = ""
    host: str = ""
    port: int = 7860
    examples: str = str(ROOT / "assets")
    max_upload_mb: int = 20
    max_display_side: int = 1280  # pixels; larger pictures are scaled down for the page and the model
    max_question_chars: int = 500
    max_new_tokens: int = 128
    cached_pictures: int = 32
    cached_questions: int = 32
    waiting_visitors: int = 24
    yields_per_second: float = 10.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
                raise InvalidInput(f"FSR_{f.name.upper()} must be above 0, not {value}.")

    @property
    def model_ids(self) -> list[str]:
        """The first model and the others on offer, each once."""
        names = [self.model, *(m.strip() for m in self.models.split(","))]
        return list(dict.fromkeys(m for m in names if m))

    @staticmethod
    def from_environment(environment: dict[str, str] | None = None) -> Settings:
        """Raises InvalidInput for a value that is no number where one is needed."""
        env = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for f in fields(Settings):
            text = env.get(f"FSR_{f.name.upper()}")
            if text is not None:
                values[f.name] = _parsed(f.name, text, type(f.default))
        return Settings(**values)


def _parsed(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput(f"FSR_{name.upper()} must be a number, not {text!r}.") from None
