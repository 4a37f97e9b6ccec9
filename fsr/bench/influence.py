"""How long it takes to measure which tokens an answer rests on: `fsr.why.influence` against one prompt after another,
and against the answer itself, on the embedded model's validation scenes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from fsr.bench.machine import about
from fsr.errors import InvalidInput

SIDES = ("influence", "one_by_one", "answer")


def measure(scenes: int = 8, budget: int = 64, repeats: int = 3, threads: int = 2) -> dict[str, Any]:
    """FSR at `budget` on so many scenes, the three sides interleaved; a first round warms up. Raises InvalidInput.

    Returns {"machine", "model", "scenes", "budget", "repeats", "threads", "ms": {side: median of a picture}, "ratio":
    {"one_by_one", "answer"}: medians of a picture's ratio to influence, so above 1 is slower than it}.
    """
    if min(scenes, budget, repeats, threads) < 1:
        raise InvalidInput("scenes, budget, repeats and threads must be at least 1.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _measured(scenes, budget, repeats, threads)
    finally:
        torch.set_num_threads(before)


def _measured(scenes: int, budget: int, repeats: int, threads: int) -> dict[str, Any]:
    import fsr.vlm
    from fsr.vlm.cost import timed

    vlm = fsr.vlm.load("shapes")
    ms: dict[str, list[float]] = {side: [] for side in SIDES}
    for scene in range(scenes):
        sides = _sides(vlm, scene, budget)
        rounds = [[timed(side, vlm.device)[1] for side in sides] for _ in range(repeats + 1)][1:]
        for name, times in zip(SIDES, zip(*rounds, strict=True), strict=True):
            ms[name].append(statistics.median(times))
    ratios = {
        name: statistics.median(a / b for a, b in zip(ms[name], ms["influence"], strict=True)) for name in SIDES[1:]
    }
    return {
        "machine": about(vlm.device),
        "model": vlm.id,
        "scenes": scenes,
        "budget": budget,
        "repeats": repeats,
        "threads": threads,
        "ms": {name: round(statistics.median(times), 2) for name, times in ms.items()},
        "ratio": {name: round(value, 3) for name, value in ratios.items()},
    }


def _sides(vlm: Any, index: int, budget: int) -> list[Callable[[], object]]:
    """What is timed on one scene: all prompts in batches, each alone, and the answer."""
    from PIL import Image

    from fsr.pruners import make
    from fsr.shapes.questions import ask
    from fsr.shapes.scenes import draw, generator, random_scene
    from fsr.vlm.answers import greedy_answer
    from fsr.why import influence
    from fsr.why.changed import absorbed, without

    rng = generator("validation", 11, index)
    scene = random_scene(rng, 4)
    question = ask(scene, "list", rng)  # the longest answers
    assert question is not None
    encoding = vlm.encode(vlm.encode_media([Image.fromarray(draw(scene))]), question.text)
    selection = make("fsr")(encoding.tokens, budget)
    ids = greedy_answer(vlm, encoding, 16, selection=selection)
    prompts = [selection, *(without(selection, token) for token in absorbed(selection))]
    return [
        lambda: list(influence(vlm, encoding, selection, ids)),
        lambda: [vlm.forced(encoding, prompt, ids) for prompt in prompts],
        lambda: greedy_answer(vlm, encoding, 16, selection=selection),
    ]
