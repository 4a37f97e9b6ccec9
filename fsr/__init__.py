"""Focus-Scan-Refine: visual token pruning for vision-language models, and everything needed to look at it."""

from __future__ import annotations

from typing import Any

__all__ = ["explain", "open_saved", "prune"]


def __getattr__(name: str) -> Any:
    if name == "prune":  # on demand: it needs torch, which a plain `import fsr` does not
        from fsr.vlm.plug import prune

        return prune
    if name == "explain":
        from fsr.trace.page import explain

        return explain
    if name == "open_saved":
        from fsr.trace.saved import open_saved

        return open_saved
    raise AttributeError(f"module 'fsr' has no attribute {name!r}")
