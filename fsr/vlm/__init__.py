"""Vision-language models whose visual tokens can be seen and pruned: `load`, then encode_media, encode, generate."""

from __future__ import annotations

from fsr.vlm.base import VLM, Step, without_picture
from fsr.vlm.checkpoint import available, load
from fsr.vlm.media import Encoding, Media

__all__ = ["VLM", "Encoding", "Media", "Step", "available", "load", "without_picture"]
