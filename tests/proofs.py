"""Which test proves what for which model family: marks on the tests, and the table that is made of them.

`make docs` writes it to fsr/vlm/proven.json, which the documents and the page's picker show.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest

from fsr.vlm.catalogue import FAMILIES
from fsr.vlm.matrix import COLUMNS, PROVEN

CALLED = {  # what tests call a family -> its name in the registry, where they differ
    "next": "llava_next",
    "onevision": "llava_onevision",
    "llava-video": "llava_video",
    "qwen": "qwen2_5_vl",
    "qwen3": "qwen3_vl",
}
MEDIA = {"several": "several", "video": "clips", "clip": "clips"}  # what a case is called -> its column; else a picture
TABLE = pytest.StashKey[dict[str, dict[str, list[str]]]]()
COLLECTED = pytest.StashKey[set[str]]()  # the modules that were looked at


def proves(*columns: str, family: str = "", by: str = "family", media: str = "") -> pytest.MarkDecorator:
    """A test that proves these columns of `fsr.vlm.matrix.COLUMNS`.

    family: for which one; else the parameter called `by` says it. media: the parameter that says on what, which is a
    column too.
    """
    return pytest.mark.proves(*columns, family=family, by=by, media=media)


def table(items: Sequence[pytest.Item]) -> dict[str, dict[str, list[str]]]:
    """family -> column -> the tests that prove it, as module::name."""
    found: dict[str, dict[str, set[str]]] = {}
    for item in items:
        for mark in item.iter_markers("proves"):
            for family, column in _proven(mark, getattr(getattr(item, "callspec", None), "params", {})):
                if family not in FAMILIES or column not in COLUMNS:
                    raise pytest.UsageError(f"{item.nodeid}: no family {family!r} or no column {column!r} to prove")
                name = f"{item.path.stem}::{getattr(item, 'originalname', item.name)}"
                found.setdefault(family, {}).setdefault(column, set()).add(name)
    return {
        family: {column: sorted(found[family][column]) for column in COLUMNS if column in found[family]}
        for family in FAMILIES
        if family in found
    }


def _proven(mark: pytest.Mark, params: dict[str, Any]) -> list[tuple[str, str]]:
    family = mark.kwargs["family"] or params[mark.kwargs["by"]]
    of_media = mark.kwargs["media"]
    columns = [*mark.args, *([MEDIA.get(str(params[of_media]), "pictures")] if of_media else [])]
    return [(CALLED.get(family, family), column) for column in columns]


class Collected:
    """Keeps the table of all tests that were found, before any is left out."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        config.stash[TABLE], config.stash[COLLECTED] = table(items), {item.path.stem for item in items}


class _Writer:
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        PROVEN.write_text(json.dumps(session.config.stash[TABLE], indent=1) + "\n", encoding="utf-8")


def write() -> None:
    """Collect every test, run none, and write the table. Raises RuntimeError where they cannot be collected."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = pytest.main(["--collect-only", "-q", "tests"], plugins=[_Writer()])
    if code:
        raise RuntimeError(f"the tests cannot be collected:\n{told.getvalue()}")
