"""A checkpoint on the Hugging Face hub: what it consists of, what of it is here already, and the download of the rest.

The hub is asked once, with a few seconds' patience; where it does not answer, what is in its cache here is used.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fsr.errors import FsrError
from fsr.vlm.progress import LoadProgress, Report

ANSWER_S = 4.0
SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration, processor and tokenizer
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first kind that a checkpoint has


@dataclass(frozen=True)
class Hub:
    """One checkpoint. sizes: bytes of every file, empty where the hub gave no answer; then `error` says why."""

    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    error: Exception | None = None

    @staticmethod
    def look(name: str) -> Hub:
        """Ask the hub. Nothing is raised: `folder` falls back to what is here."""
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(name, timeout=ANSWER_S, files_metadata=True)
        except Exception as error:  # not reachable, not known, gated, out of order
            return Hub(name, error=error)
        return Hub(name, {file.rfilename: file.size or 0 for file in info.siblings or []})

    def wanted(self, weights: bool) -> list[str]:
        """The patterns of the files that `load` reads: settings, or with `weights` those of the weights as well."""
        if not weights:
            return [*SETTINGS]
        kinds = [p for p in WEIGHTS if any(fnmatch(name, p) for name in self.sizes)]
        return [*SETTINGS, kinds[0] if kinds else WEIGHTS[0]]

    def folder(self, weights: bool, title: str = "", report: Report | None = None) -> Path:
        """The folder in the hub's cache that holds the settings, or with `weights` all. Downloads what is missing.

        Raises what the hub's client raises, and FsrError where the disk is too small.
        """
        from huggingface_hub import snapshot_download

        patterns = self.wanted(weights)
        if self.error is not None:
            return self._here(patterns, weights)
        files = {name: size for name, size in self.sizes.items() if any(fnmatch(name, p) for p in patterns)}
        missing = sum(size for name, size in files.items() if not in_cache(self.name, name))
        if not missing:
            return Path(snapshot_download(self.name, allow_patterns=patterns))
        check_disk(self.name, missing)
        total = sum(files.values())
        start = LoadProgress(title or self.name, "download", total - missing, total)
        bar = None if report is None else bar_for(report, start)
        return Path(snapshot_download(self.name, allow_patterns=patterns, tqdm_class=bar))

    def _here(self, patterns: list[str], weights: bool) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        assert self.error is not None
        try:
            folder = Path(snapshot_download(self.name, allow_patterns=patterns, local_files_only=True))
        except LocalEntryNotFoundError as missing:
            if type(missing) is LocalEntryNotFoundError:
                raise self.error from None
            raise  # IncompleteSnapshotError, which older clients do not know
        if weights and not any(path for kind in WEIGHTS for path in folder.glob(kind)):
            raise self.error
        return folder


def bar_for(report: Report, start: LoadProgress) -> type[tqdm]:
    """A class in the place of the hub client's progress bars, which draws nothing and reports the bytes.

    The client has a bar of bytes sent and one of bytes written; the one that is ahead counts.
    """
    shown = [start.done]

    class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            done = min(start.total, start.done + int(self.n))
            if self.unit == "B" and done > shown[0]:
                shown[0] = done
                report(replace(start, done=done))
            return None

    return Bar


def in_cache(name: str, file: str = "config.json") -> bool:
    """Whether a file of a checkpoint on the hub is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, file), str)


def check_disk(name: str, needed: int) -> None:
    """Raises FsrError where the hub's cache lies on a disk with less room."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FsrError(f"{name} is a download of {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free.")
