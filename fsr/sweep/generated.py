"""Rows that no model gave, in the shape of a sweep's, to measure with how long the data-set view takes for many."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from fsr.sweep.store import BLOCKS, DATA, ROW_FIELDS, Store

BLOCK = 32
METHODS = ("fsr", "cdpruner", "divprune", "vispruner", "random", "grid")
BUDGETS = (192, 128, 64, 32)
TOKENS = 576
TYPES = ("color", "shape", "exists", "count", "digit", "where", "relation", "list")
WORDS = ("red", "green", "blue", "dog", "cat", "car", "tree", "left", "right", "two", "three", "yes", "no", "nothing")


def written(folder: Path, rows: int, seed: int = 0) -> int:
    """A sweep of at least so many rows in the folder, block by block as a real one; how many it has."""
    each = 1 + len(METHODS) * len(BUDGETS)
    questions = -(-rows // each)
    settings = {"data": "generated.jsonl", "digest": f"generated, seed {seed}", "items": questions, "model": "none"}
    settings |= {"methods": {name: {} for name in METHODS}, "budgets": list(BUDGETS), "metric": "exact"}
    store = Store(folder)
    store.begin(settings | {"block": BLOCK, "options": {}, "max_new_tokens": 0, "frames": 0})
    random = np.random.default_rng(seed)
    roles = [
        random.choice([0, 1, 3, 4], TOKENS, p=[0.78, 0.11, 0.08, 0.03]).astype(np.uint8).tobytes() for _ in range(99)
    ]
    for number in range(-(-questions // BLOCK)):
        items = np.arange(number * BLOCK, min(questions, (number + 1) * BLOCK))
        _block(folder, number, items, random, roles)
    return questions * each


def _block(folder: Path, number: int, items: np.ndarray, random: np.random.Generator, roles: list[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    place = folder / BLOCKS / f"block={number:06d}"
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.mkdir()
    schema = pa.schema(
        [(name, getattr(pa, "bool_" if kind == "bool" else kind)()) for name, kind in ROW_FIELDS.items()]
    )
    parquet.write_table(
        pa.table(_rows(items, random, roles), schema=schema), beside / "rows.parquet", compression="zstd"
    )
    parquet.write_table(pa.table(_items(items, random)), beside / "items.parquet", compression="zstd")
    os.rename(beside, place)


def _rows(items: np.ndarray, random: np.random.Generator, roles: list[bytes]) -> dict[str, Any]:
    pairs = [("full", TOKENS), *((method, budget) for method in METHODS for budget in BUDGETS)]
    n, each = len(items) * len(pairs), len(pairs)
    full = np.tile(np.arange(each) == 0, len(items))
    unpruned = np.repeat(random.choice(WORDS, len(items)), each)
    right = np.repeat(random.random(len(items)) < 0.8, each)
    agrees = full | (random.random(n) < 0.85)
    answer = np.where(agrees, unpruned, random.choice(WORDS, n))
    drawn = {name: random.random(n) for name in ROW_FIELDS if ROW_FIELDS[name] == "float64"}
    told: dict[str, Any] = drawn | {"item": np.repeat(items, each), "method": [m for m, _ in pairs] * len(items)}
    told |= {"budget": [b for _, b in pairs] * len(items), "answer": answer, "unpruned": unpruned, "agrees": agrees}
    told |= {"score": np.where(agrees, right, random.random(n) < 0.2).astype(float)}
    told |= {"visual_tokens": np.array(told["budget"], float), "kl": random.exponential(np.where(agrees, 0.01, 1.0))}
    told |= {
        "roles": [
            None if whole else roles[i] for whole, i in zip(full, random.integers(len(roles), size=n), strict=True)
        ]
    }
    return told | {"problem": [None] * n}


def _items(items: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    n = len(items)
    grid = {"width": 336, "height": 336, "rows": 24, "cols": 24, "seen": [0, 0, 336, 336], "part": "", "picture": 0}
    words = random.choice(WORDS, (n, 9))
    return {
        "item": items,
        "question": [f"what is {' '.join(line)} number {i}?" for i, line in zip(items, words, strict=True)],
        "media": [f"{i}.jpg" for i in items],
        "answers": [[line[0]] for line in words.tolist()],
        "layout": [json.dumps({"grids": [grid]})] * n,
        f"{DATA}type": random.choice(TYPES, n),
        f"{DATA}objects": random.integers(1, 9, n).astype(float),
        f"{DATA}size": random.random(n) * 40,
        f"{DATA}small": random.random(n) < 0.4,
        f"{DATA}source": [f"photo {i % 5000}" for i in items],
    }
