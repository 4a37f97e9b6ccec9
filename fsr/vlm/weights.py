"""Whether the files of a checkpoint's weights are whole, told from their headers and sizes before any is read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fsr.errors import FsrError
from fsr.vlm.hub import WEIGHTS

WHOLE = ("model.safetensors", "pytorch_model.bin")  # the whole checkpoint in one file
PICKLED = b"\x80"  # how a file of torch.save begins that is no zip archive: of torch before 1.6


def weight_files(folder: Path) -> list[Path]:
    """The files of the first kind that a checkpoint has, in order."""
    return next((found for kind in WEIGHTS if (found := sorted(folder.glob(kind)))), [])


def check_whole(name: str, folder: Path) -> None:
    """Raises FsrError where a file of weights is missing, cut off, or none. name: of the checkpoint, in sentences."""
    found = weight_files(folder)
    if not found:
        raise FsrError(f"{name} has no weights: none of its files is called {' or '.join(WEIGHTS)}.")
    wanted: dict[str, set[str]] = {path.name: set() for path in found}
    index = next(iter(folder.glob(f"*{found[0].suffix}.index.json")), None)
    if index is not None and not wanted.keys() & set(WHOLE):
        wanted = _indexed(name, index)
    for file, weights in wanted.items():
        if not (folder / file).is_file():
            raise FsrError(f"{name} lacks a file of its weights, {file}.")
        if missing := weights - _held(name, folder / file, weights):
            raise FsrError(f"{name} lacks weights, for example {min(missing)}.")


def _indexed(name: str, index: Path) -> dict[str, set[str]]:
    """File -> the weights that should be in it."""
    files: dict[str, set[str]] = {}
    try:
        for weight, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            files.setdefault(Path(file).name, set()).add(weight)
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise FsrError(f"{name} cannot be loaded: {index.name} is no index of weights.") from error
    return files


def _held(name: str, file: Path, expected: set[str]) -> set[str]:
    """The weights in a file; `expected` where only its frame can be looked at."""
    damaged = f"{name} cannot be loaded: {file.name} is damaged or was cut off."
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as tensors:  # compares the header with the size of the file
                return set(tensors.keys())
        except (SafetensorError, OSError) as error:
            raise FsrError(damaged) from error
    with file.open("rb") as archive:
        begins = archive.read(1)
    if begins != PICKLED and not zipfile.is_zipfile(file):
        raise FsrError(damaged)
    return expected


def complete(kind: Any, folder: Path, name: str, **options: Any) -> Any:
    """from_pretrained, but weights that are not in the files are an error, not a random beginning."""
    model, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
    if info["missing_keys"]:
        raise FsrError(f"{name} lacks weights, for example {min(info['missing_keys'])}.")
    return model
