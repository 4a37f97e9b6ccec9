"""Does a device do what the CPU does? What `python -m fsr bench gpu` checks on a card and the tests check here.

Every check returns what is wrong, a sentence each: nothing where it passes. way: of looping, see `fsr.kernels`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.bench.released import looping
from fsr.kernels import NONE
from fsr.pruners import REGISTRY, for_pictures, make
from fsr.pruners.cdpruner import NOISE, most_diverse
from fsr.scan import scan_order
from fsr.similarity import (
    STEPS,
    TAKEN,
    AllSimilarities,
    Similarities,
    exact_products,
    first_equal,
    first_equal_on_device,
)
from fsr.tokens import Layout, VisualTokens, unit_rows
from fsr.vlm.base import VLM

Problems = list[str]
Asked = Sequence[tuple[Image.Image, str]]  # pictures with questions

VECTORS = ("embeddings", "features", "keys", "last_keys", "pixels")  # of VisualTokens, a row for every token
SCORES = ("saliency", "relevance", "last_saliency")
COUNTING = ("visionzip", "prumerge", "pool2x2")  # ask a few times how many tokens they chose, though in no loop
MOST_WAITS = 2  # of any other method
INSIDE = tuple(name for name, kind in REGISTRY.items() if kind.stage == "inside")
NEEDS = frozenset().union(*(kind.requires for kind in REGISTRY.values()))
NEW_TOKENS = 48  # of an answer at most
LEFT_BEHIND = 1_000_000  # bytes that may be held after many answers and were not before


# -- kernels


def features(seed: int, n: int, d: int = 16, kinds: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, D), random. kinds: of so many different tokens; 0: all differ."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(kinds or n, d, generator=generator)
    return (x[torch.randint(kinds, (n,), generator=generator)] if kinds else x).to(dtype)


def whole(x: Tensor) -> Similarities:
    """All rows, as the CPU computes them."""
    return Similarities(unit_rows(x), first_equal(x)).complete()


def farthest_points(way: Any, device: torch.device) -> Problems:
    """Scan's picks, one by one, on the same rows."""
    cases: dict[str, tuple[Tensor, list[int], int]] = {
        "one token": (features(0, 1), [], 1),
        "two equal ones": (features(0, 1).repeat(2, 1), [1], 1),
        "all equal": (features(0, 1).repeat(70, 1), [3], 69),
        "all as far from each other": (torch.eye(100), [7], 60),
        "half precision": (features(1, 300, dtype=torch.bfloat16), [5, 9], 200),
        "few kinds": (features(2, 257, kinds=12), [5], 256),
        "a zero token": (features(3, 33).index_fill_(0, torch.tensor([4, 30]), 0.0), [], 33),
        "no power of two": (features(4, 577, 24), list(range(0, 577, 9)), 128),
        "many": (features(5, 8192, 8), [8191], 12),
    }
    problems = []
    for case, (x, focus, count) in cases.items():
        problems += _farthest(case, way, device, whole(x), [focus], [count])
    return problems


def groups(way: Any, device: torch.device) -> Problems:
    """The same in several groups at once, some of which pick nothing."""
    focus: list[list[int]] = [[0], [3, 8], [], [199], list(range(30))]
    return _farthest("groups", way, device, whole(features(6, 200, kinds=90)), focus, [0, 1, 50, 7, 170])


def _farthest(
    case: str, way: Any, device: torch.device, similarities: Similarities, focus: list[list[int]], counts: list[int]
) -> Problems:
    rows = similarities.matrix()
    nearest = torch.stack([_start(rows, some) for some in focus]).to(device)
    orders = way.farthest(rows.to(device), nearest, counts)
    problems = []
    for order, some, count, left in zip(orders, focus, counts, nearest, strict=True):
        expected, least = scan_order(similarities, some, count)
        padding = [NONE] * (max(counts) - count)
        problems += _difference(f"{case}, {count} picks", order.tolist(), expected.tolist() + padding)
        if float(left.min()) != float(least):
            problems.append(f"{case}, {count} picks: what is left is as far as {float(left.min())}, not {float(least)}")
    return problems


def _start(rows: Tensor, focus: list[int]) -> Tensor:
    nearest = rows[focus].amax(dim=0) if focus else torch.full((len(rows),), -TAKEN)
    return nearest.index_fill_(0, torch.tensor(focus, dtype=torch.int64), TAKEN)


def most_diverse_tokens(way: Any, device: torch.device) -> Problems:
    """CDPruner's picks, one by one, on the same rows, with and without relevance."""
    cases = {
        "one token": (features(0, 1), 1),
        "all equal": (features(0, 1).repeat(70, 1), 5),
        "the rank is used up": (features(1, 90, 7), 40),
        "few kinds": (features(2, 120, 40, kinds=25), 60),
        "half precision": (features(3, 150, 64, dtype=torch.float16), 100),
        "three panels": (features(4, 260, 96), 80),
    }
    problems = []
    for case, (x, count) in cases.items():
        here, there = whole(x), AllSimilarities(unit_rows(x).to(device), first_equal(x).to(device))
        there._matrix = here.matrix().to(device)  # the same rows, so that picks can be compared
        random = torch.rand(len(x), generator=torch.Generator().manual_seed(9)) + 1e-3
        for words, r in (("relevance", random), ("no relevance", torch.ones(len(x)))):
            with looping(way):
                found = most_diverse(there, r.to(device), count)
            problems += _difference(f"{case}, {words}", found.tolist(), most_diverse(here, r, count).tolist())
    return problems


def panel_state(way: Any, device: torch.device) -> Problems:
    """What a panel leaves for the next one: the picks have no weight, u is what C leaves of every token."""
    similarities, r = whole(features(7, 64, 32)), torch.rand(64, generator=torch.Generator().manual_seed(1)) + 0.1
    given = [similarities.first, r.square(), torch.full((64,), float(STEPS)), torch.zeros(9, 64)]
    given = [x.to(device) for x in given]
    order = way.panel(similarities.matrix().to(device), *given, NOISE)
    order, weight, u, factor = (x.cpu() for x in (order, *given[1:]))
    problems = _difference("tokens without weight", sorted(order.tolist()), (weight == 0).nonzero()[:, 0].tolist())
    if not torch.allclose(u, STEPS - factor.square().sum(dim=0), atol=STEPS * 1e-5):
        problems.append("the squared lengths left are not those of the factor")
    return problems


def equal_tokens(device: torch.device) -> Problems:
    """Which tokens are equal bit for bit."""
    problems = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for n, kinds in ((1, 0), (2, 1), (300, 0), (300, 40), (50, 1)):
            x = features(n, n, 77, kinds, dtype)
            x[n // 2] = 0
            x[n // 3, -1] += 1  # equal in all columns but one
            found, expected = first_equal_on_device(x.to(device)), first_equal(x)
            problems += _difference(f"{n} tokens in {dtype}", found.tolist(), expected.tolist())
    return problems


def exact_rows(device: torch.device) -> Problems:
    """Similarities are those of float64 to a few steps, whatever products may be rounded to elsewhere."""
    x = features(8, 200, 1024)
    true = unit_rows(x.double()) @ unit_rows(x.double()).T
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        found = AllSimilarities(unit_rows(x).to(device), first_equal(x).to(device)).matrix()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    off = float((found.cpu().double() - STEPS * true).abs().max())
    return [] if off <= 8 else [f"a similarity is off by {off:.0f} steps of 2^-22"]


def _difference(case: str, found: list[int], expected: list[int]) -> Problems:
    if found == expected:
        return []
    at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
    if at is None:
        return [f"{case}: {len(found)} numbers, not {len(expected)}"]
    return [f"{case}: number {at} is {found[at]}, on the CPU {expected[at]}"]


# -- selection


def random_tokens(seed: int, rows: int = 5, cols: int = 6, width: int = 12) -> VisualTokens:
    """Tokens whose decisions are far from ties."""
    n, generator = rows * cols, torch.Generator().manual_seed(seed)
    return VisualTokens(
        embeddings=torch.randn(n, width, generator=generator),
        layout=Layout.of_grid(rows, cols),
        features=torch.randn(n, 2 * width, generator=generator),
        saliency=torch.rand(n, generator=generator) ** 3,
        relevance=0.2 + 0.1 * torch.randn(n, generator=generator),
        keys=torch.randn(n, width // 2, generator=generator),
        last_keys=torch.randn(n, 2 * width, generator=generator),
        last_saliency=torch.rand(n, generator=generator) ** 8,
        summary=torch.randn(1, width, generator=generator),
        question=torch.randn(4, width, generator=torch.Generator().manual_seed(~seed)),
        pixels=torch.randint(0, 2, (n, 3), generator=generator).float(),
    )


def tokens_on(tokens: VisualTokens, device: torch.device | str) -> VisualTokens:
    """The same tokens on a device."""
    return replace(
        tokens, **{name: getattr(tokens, name).to(device) for name in (*VECTORS, *SCORES, "summary", "question")}
    )


def rounded(tokens: VisualTokens, dtype: torch.dtype) -> VisualTokens:
    """The same tokens in fewer bits."""
    return replace(tokens, **{name: getattr(tokens, name).to(dtype) for name in (*VECTORS, *SCORES, "question")})


def same_selection(name: str, tokens: VisualTokens, away: VisualTokens, budget: int) -> Problems:
    """One method at one budget. away: the same tokens on the device."""
    found, expected = make(name)(away, budget), make(name)(tokens, budget)
    case = f"{name} at {budget} of {len(tokens)} in {tokens.embeddings.dtype}"
    problems = _difference(f"{case}, kept", found.kept.tolist(), expected.kept.tolist())
    problems += _difference(f"{case}, roles", found.roles.tolist(), expected.roles.tolist())
    merged, exact = found.embeddings.cpu().float(), expected.embeddings.float()
    most = 1e-6 if tokens.embeddings.dtype == torch.float32 else 4 * torch.finfo(tokens.embeddings.dtype).eps
    if merged.shape == exact.shape and not torch.allclose(merged, exact, rtol=most, atol=most):
        problems.append(f"{case}: merged embeddings differ by {float((merged - exact).abs().max()):.2g}")
    return problems


def selections(device: torch.device, dtype: torch.dtype) -> Problems:
    """Every method before the language model, at three budgets."""
    problems = []
    for seed in (3, 4):
        tokens = rounded(random_tokens(seed, 6, 10), dtype)
        away = tokens_on(tokens, device)
        for name in _before():
            for budget in (6, 12, 40):
                problems += same_selection(name, tokens, away, budget)
    return problems


def waits(device: torch.device) -> Problems:
    """Nothing in a selection waits for the device but the doors of `fsr.host`, and these as often at every budget."""
    problems, away = [], tokens_on(random_tokens(3, 6, 10), device)
    for name in _before():
        if name in COUNTING:
            continue
        pruner, counted = make(name), []
        for budget in (6, 12, 40):
            pruner(away, budget)  # compiles what it needs, uncounted
            fresh = replace(away)  # of which nothing is computed yet
            with doors(device) as opened:
                try:
                    pruner(fresh, budget)
                except RuntimeError as error:
                    problems.append(f"{name} at {budget} waits for the device: {str(error).splitlines()[0]}")
            counted.append(len(opened))
        if max(counted) > MOST_WAITS or len(set(counted)) > 1:
            problems.append(f"{name} waits {', '.join(map(str, counted))} times at the budgets 6, 12 and 40")
    return problems


@contextmanager
def doors(device: torch.device) -> Iterator[list[str]]:
    """What waits for a CUDA device inside the block is an error, but for `torch.cuda.synchronize`, whose calls are
    listed: `fsr.host.fetch` waits by it. Nothing is to be waited for on the CPU."""
    opened: list[str] = []
    if device.type != "cuda":
        yield opened
        return
    synchronize, mode = torch.cuda.synchronize, torch.cuda.get_sync_debug_mode()

    def counted(where: Any = None) -> None:
        opened.append(str(where))
        torch.cuda.set_sync_debug_mode("default")
        synchronize(where)
        torch.cuda.set_sync_debug_mode("error")

    torch.cuda.synchronize = counted  # type: ignore[assignment]
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield opened
    finally:
        torch.cuda.set_sync_debug_mode(mode)
        torch.cuda.synchronize = synchronize


def _before() -> list[str]:
    return for_pictures()


# -- a whole model


def same_answers(vlm: VLM, reference: VLM, asked: Asked) -> Problems:
    """The words of the answers with all tokens and with a ninth of them. reference: the same model on the CPU."""
    problems = []
    with exact_products(), _exact_convolutions():
        for place, (picture, question) in enumerate(asked):
            found, expected = answers(vlm, picture, question), answers(reference, picture, question)
            for words, one, other in zip(("all tokens", "a ninth of them"), found, expected, strict=True):
                if one != other:
                    problems.append(f"question {place}, {question!r} with {words}: {one!r}, on the CPU {other!r}")
    return problems


def answers(vlm: VLM, picture: Image.Image, question: str) -> tuple[str, str]:
    """With all tokens, and with the ninth of them that FSR keeps."""
    pruner = make("fsr")
    encoding = vlm.encode(vlm.encode_media([picture], needs=pruner.requires), question, pruner.requires)
    selection = pruner(encoding.tokens, max(1, len(encoding.tokens) // 9))
    *_, full = vlm.generate(encoding, None, NEW_TOKENS)
    *_, pruned = vlm.generate(encoding, selection, NEW_TOKENS)
    return full.text, pruned.text


def hooks_gone(vlm: VLM, picture: Image.Image, question: str) -> Problems:
    """After captures, methods inside the language model, and an answer that is left half way."""
    model = vlm.decoder.model
    before = hooks_of(model)
    encoding = vlm.encode(vlm.encode_media([picture], needs=NEEDS), question, NEEDS)
    problems = []
    for name in ("fsr", *INSIDE):
        selection = make(name)(encoding.tokens, 2 * len(encoding.tokens) // 3)
        steps = vlm.generate(encoding, selection, 4)
        next(steps)
        steps.close()  # type: ignore[attr-defined]
        for _ in vlm.generate(encoding, selection, 4):
            pass
        if (after := hooks_of(model)) != before:
            problems.append(f"{name} left {after - before} hooks")
    return problems


def hooks_of(model: torch.nn.Module) -> int:
    """How many hooks there are on all modules."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def memory_back(vlm: VLM, asked: Asked, questions: int) -> Problems:
    """What is held after so many questions, two answers each, is what was held before. asked: few pictures, so that
    all of them stay in the cache."""
    for picture, question in asked:
        answers(vlm, picture, question)
    before = held_bytes(vlm.device)
    for i in range(questions):
        answers(vlm, *asked[i % len(asked)])
    left = held_bytes(vlm.device) - before
    return [] if left <= LEFT_BEHIND else [f"{left / 1e6:.1f} MB more are held after {2 * questions} answers"]


def held_bytes(device: torch.device) -> int:
    """What tensors take on the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device)
    tensors = [x for x in gc.get_objects() if type(x) in (Tensor, torch.nn.Parameter) and x.device == device]
    return sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    """Without TF32, which they may use unless told."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
