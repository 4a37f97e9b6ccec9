"""A sketch of what tokens are like: a few numbers a token, from which a page finds the most similar ones by itself."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import torch
from torch import Tensor

from fsr.tokens import VisualTokens
from fsr.trace.validation import Checker

UP_TO = 4096  # tokens; of more there is no sketch
DIMENSIONS = (16, 32, 64, 96)
ERROR = 0.01  # of a cosine: the fewest dimensions that keep it are taken
WORST = 0.05  # a sketch that is farther off is none
SAMPLED = 256  # tokens whose cosines to all others are compared
FULL = 32_767


def sketched(tokens: VisualTokens) -> dict[str, Any]:
    """{"sketch": ...} of the features that distances are measured on, or {} where a few dimensions do not hold them.

    dims: r. values: (N, r) int16, low byte first, base64: unit features turned to their main directions, in 1/32767.
    error: the largest difference of a cosine from the exact one, measured on up to `SAMPLED` tokens against all.
    """
    if len(tokens) > UP_TO:
        return {}
    unit = tokens.space("projected").cpu()
    directions = main_directions(unit, max(DIMENSIONS))
    sample = torch.linspace(0, len(unit) - 1, min(SAMPLED, len(unit))).round().long()
    exact = unit[sample] @ unit.T
    for dims in DIMENSIONS:
        values = (unit @ directions[:, :dims] * FULL).round().clamp(-FULL, FULL)
        rows = torch.nn.functional.normalize(values, dim=1)
        error = float((rows[sample] @ rows.T - exact).abs().max())
        if error <= ERROR or dims >= directions.shape[1]:
            break
    if error > WORST:
        return {}
    packed = base64.b64encode(values.to(torch.int16).numpy().astype("<i2").tobytes()).decode()
    return {"sketch": {"dims": values.shape[1], "values": packed, "error": float(f"{error:.2g}")}}


def main_directions(unit: Tensor, count: int) -> Tensor:
    """(D, r) orthonormal columns, r = min(count, N, D), the directions in which (N, D) rows are largest, first ones
    first: two rounds of subspace iteration from a fixed start, then a rotation to the main axes."""
    n, d = unit.shape
    start: Tensor = torch.randn(d, min(count, n, d), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        start = torch.linalg.qr(unit.T @ (unit @ start)).Q
    axes: Tensor = torch.linalg.eigh((unit @ start).T @ (unit @ start)).eigenvectors.flip(1)
    return start @ axes


def check_sketch(check: Checker, sketch: Any, n: int) -> None:
    """What `sketched` makes for n tokens. Raises TraceError."""
    check.keys(sketch, {"dims", "values", "error"}, set(), "tokens.sketch")
    dims = check.whole(sketch["dims"], 1, max(DIMENSIONS), "tokens.sketch.dims")
    check.number(sketch["error"], "tokens.sketch.error", low=0, high=1)
    check.text(sketch["values"], 3 * n * dims + 8, "tokens.sketch.values")
    try:
        size = len(base64.b64decode(sketch["values"], validate=True))
    except (binascii.Error, ValueError) as error:
        raise check.fail("tokens.sketch.values", "must be base64") from error
    if size != 2 * n * dims:
        raise check.fail("tokens.sketch.values", f"must hold {dims} numbers of two bytes for each of {n} tokens")
