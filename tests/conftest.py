"""Tiny checkpoints, saved to disk and loaded through `fsr.vlm.load`; see tests/tiny.py."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import fsr.vlm
from tests.proofs import Collected
from tests.tiny import save_tiny

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start: as many tests run at once as there are cores


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collected())


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a test with a browser waits for the page half of its time."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "tiny-llava")


@pytest.fixture(scope="session")
def word_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the embedded model, which knows a few dozen words, and facts in fsr.json."""
    from fsr.shapes.vocabulary import build_tokenizer

    folder = tmp_path_factory.mktemp("words") / "tiny-words"
    return save_tiny(folder, tokenizer=build_tokenizer(), facts={"title": "Tiny words", "relevance_sign": 1})


@pytest.fixture(scope="session")
def word_vlm(word_folder: Path) -> fsr.vlm.VLM:
    return fsr.vlm.load(str(word_folder))


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A landscape picture of noise, the same every time."""
    pixels = torch.randint(0, 256, (100, 160, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.fixture(scope="session")
def tiny_vlm(tiny_folder: Path) -> fsr.vlm.VLM:
    """A 5 x 5 grid, D = 48, byte-level words, with its CLIP beside it. Shared: tests must not change it."""
    return fsr.vlm.load(str(tiny_folder))


class _Deprecations(logging.Handler):
    """transformers tells of some deprecations by its logger, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "deprecated" in record.getMessage().lower():
            self.told.append(record.getMessage())


@pytest.fixture(scope="session")
def _deprecations():
    handler, logger = _Deprecations(), logging.getLogger("transformers")
    logger.addHandler(handler)
    yield handler.told
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def no_deprecated_call(_deprecations):
    """What a later transformers takes away must not be used."""
    before = len(_deprecations)
    yield
    assert _deprecations[before:] == []
