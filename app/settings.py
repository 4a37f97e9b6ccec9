"""Every setting and every limit of the app, read from the environment once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.offers import CLIPS_ONLY, Offer, check, chosen, is_public, offered
from fsr.errors import InvalidInput
from fsr.media.video import MAX_FRAMES, ClipLimits
from fsr.vlm.placement import placed

ROOT = Path(__file__).resolve().parents[1]
MAY_BE_ZERO = ("repeat_s", "port", "mcp")
UPLOADS = [
    "image",
    "video",
    ".mkv",
    ".html",
    ".htm",
    ".json",
]  # what may be chosen; its content decides what is done with it
ROOT_PATH = re.compile(r"(https?://[^/?#\s]+)?(/[^/?#\s]+)*/?")


@dataclass(frozen=True)
class Settings:
    """Environment variable: FSR_ and the field's name in capitals, e.g. FSR_MODEL, FSR_MAX_UPLOAD_MB.

    model: what answers at first: "shapes" (embedded), a checkpoint directory, or a hub id, with options after colons
    (`app.offers.WORDS`). models: further ones that visitors may choose, separated by commas; "all": every listed one.
    fallback: what answers where `model` cannot be loaded. device: cpu, cuda, or a device_map as "auto"; dtype: float32,
    float16, bfloat16 or 4bit; empty for the model's own default. root_path: where a proxy shows the page, as /explorer.
    sweeps: folders of recorded sweeps, or of one, separated by commas; empty for none.
    mcp: refused on a page that others reach. max_clip_frames: of a whole clip; max_sampled_frames: that a model is
    given.
    """

    model: str = "shapes"
    models: str = CLIPS_ONLY
    fallback: str = ""
    device: str = ""
    dtype: str = ""
    host: str = ""
    port: int = 0  # 0: 7860, or the next one that is free
    root_path: str = ""
    mcp: int = 0  # 1: the API is a server of tools, too
    examples: str = str(ROOT / "assets")
    sweeps: str = str(ROOT / "assets" / "sweeps")
    max_upload_mb: int = 64
    max_picture_mb: int = 20
    max_display_side: int = 1280  # pixels; larger pictures are scaled down for the page and the model
    max_question_chars: int = 500
    max_new_tokens: int = 128
    repeat_s: float = 0.5  # of every side, to measure its times again and again; 0: each is measured once
    cached_pictures: int = 32
    cached_views: int = 8  # saved ones that were opened again
    cached_questions: int = 32
    question_cache_mb: int = 1000  # of encoded questions: tokens, captures and all similarities computed of them
    media_cache_mb: int = 512  # of encoded pictures and clips
    cached_clips: int = 4
    clip_cache_mb: int = 600  # of their frames
    max_clip_s: int = 120
    max_clip_frames: int = 15_000
    max_clip_megapixels: float = 9.0  # of a frame
    max_clip_side: int = 960  # pixels; larger frames are scaled down for the page and the model
    max_decoding_s: int = 20
    max_sampled_frames: int = 64
    waiting_visitors: int = 24
    yields_per_second: float = 10.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and not math.isfinite(value):
                raise InvalidInput(f"FSR_{f.name.upper()} must be a finite number, not {value}.")
            if number and f.name in MAY_BE_ZERO:
                if value < 0:
                    raise InvalidInput(f"FSR_{f.name.upper()} must be at least 0, not {value}.")
            elif number and value <= 0:
                raise InvalidInput(f"FSR_{f.name.upper()} must be above 0, not {value}.")
        if self.port > 65535:
            raise InvalidInput(f"FSR_PORT must be at most 65535, not {self.port}.")
        if self.mcp not in (0, 1):
            raise InvalidInput(f"FSR_MCP must be 1, or 0 for none, not {self.mcp}.")
        if not ROOT_PATH.fullmatch(self.root_path):
            raise InvalidInput(
                "FSR_ROOT_PATH must be a path like /explorer or an address like https://example.org/explorer, "
                f"not {self.root_path!r}."
            )
        if self.max_sampled_frames > MAX_FRAMES:
            raise InvalidInput(f"FSR_MAX_SAMPLED_FRAMES must be at most {MAX_FRAMES}, not {self.max_sampled_frames}.")

    @property
    def model_ids(self) -> list[str]:
        """The first model and the others on offer."""
        return list(self.offers)

    @cached_property
    def offers(self) -> dict[str, Offer]:
        """The same with what each is, by id."""
        here = (ROOT / "assets" / CLIPS_ONLY / "config.json").is_file()
        others = [m for m in self.models.split(",") if here or m.strip() != CLIPS_ONLY]
        return offered([self.model, *others, self.fallback])

    @property
    def first(self) -> str:
        """The id of `model`."""
        return next(iter(self.offers))

    @property
    def spare(self) -> str:
        """The id of `fallback`, empty where there is none."""
        return next((one.id for one in self.offers.values() if one.source == self.fallback), "")

    @property
    def sweep_folders(self) -> list[Path]:
        """The folders of `sweeps`."""
        return [Path(name.strip()) for name in self.sweeps.split(",") if name.strip()]

    @property
    def clip_limits(self) -> ClipLimits:
        """What a clip may be."""
        return ClipLimits(
            bytes=self.max_upload_mb * 1_000_000,
            duration_s=self.max_clip_s,
            pixels=round(self.max_clip_megapixels * 1e6),
            frames=self.max_clip_frames,
            max_side=min(self.max_clip_side, self.max_display_side),
            wait_s=self.max_decoding_s,
        )

    @staticmethod
    def from_environment(environment: dict[str, str] | None = None, cuda: bool | None = None) -> Settings:
        """Raises InvalidInput for a value that is no number where one is needed, or for what cannot be a model.

        cuda: whether there is a GPU, default as it is.
        """
        env = os.environ if environment is None else environment
        values: dict[str, Any] = asdict(chosen(_has_gpu() if cuda is None else cuda, env))
        for f in fields(Settings):
            text = env.get(f"FSR_{f.name.upper()}")
            if text is not None and f.name not in values:
                values[f.name] = _parsed(f.name, text, type(f.default))
        settings = Settings(**values)
        if not Path(settings.examples).is_dir():
            raise InvalidInput(f"FSR_EXAMPLES must be a folder, and there is none called {settings.examples!r}.")
        if "FSR_SWEEPS" in env and (missing := [one for one in settings.sweep_folders if not one.is_dir()]):
            raise InvalidInput(f"FSR_SWEEPS must be folders, and there is none called {str(missing[0])!r}.")
        if settings.mcp:
            _check_tools(env)
        if settings.device or settings.dtype:  # now, not at the first question
            placed(None, settings.device or None, settings.dtype or "float32")
        for offer in settings.offers.values():
            check(offer)
        return settings


def _check_tools(environment: Mapping[str, str]) -> None:
    """Raises InvalidInput where the API cannot be a server of tools."""
    if is_public(environment):
        raise InvalidInput(
            "FSR_MCP=1 is for a page that this machine alone reaches; leave FSR_MCP out on a public one."
        )
    if find_spec("mcp") is None:
        raise InvalidInput("FSR_MCP=1 needs the package mcp; run pip install -r requirements-mcp.txt.")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _parsed(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput(f"FSR_{name.upper()} must be a number, not {text!r}.") from None
