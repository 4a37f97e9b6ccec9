"""Training the embedded model: batches, labels, stages that resume."""

from __future__ import annotations

from pathlib import Path

import torch

from fsr.shapes.questions import TYPES
from fsr.shapes.scenes import GRID, coverage
from training import batches
from training.answering import question_mask


def test_packed_questions_see_the_picture_and_themselves_only():
    drawn, rng = batches.random_scenes(0, 2, 3, 6, 6)
    packed = batches.pack(drawn, rng, 64, dict.fromkeys(TYPES, 1.0))
    ahead = len(batches.PREFIX) + 36
    mask = question_mask(packed, ahead)[:, 0]
    for b in range(3):
        for i in range(64):
            for j in range(64):
                want = j <= i and packed.block[b, i] == packed.block[b, j]
                assert bool(mask[b, i, ahead + j]) == bool(want)
        assert mask[b, :, :ahead].all(), "no token of the picture is hidden from a question"
    first = packed.position[0][packed.block[0] == 1]
    assert first.tolist() == list(range(ahead, ahead + len(first)))


def test_labels_of_what_relates_the_objects():
    scenes, rng = batches.random_scenes(3, 9, 4, 20, 20)
    found = batches.structure(scenes, rng)
    for k, scene in enumerate(scenes):
        owner = coverage(scene).reshape(len(scene.things), -1)
        assert (found.heads["total"][k] == len(scene.things)).all()
        assert int((found.heads["middle"][k] == 1).sum()) == len(scene.things)
        for i, thing in enumerate(scene.things):
            at = int(owner[i].argmax())
            assert found.heads["same_color"][k, at] == sum(t.color == thing.color for t in scene.things)
            assert found.heads["same_pair"][k, at] == sum(t.pair == thing.pair for t in scene.things)
            assert found.heads["rank"][k, at] == sum(t.x < thing.x for t in scene.things)
        assert (owner[:, found.queries[k]].max(0) > 0).all(), "only patches of objects are asked"
    for gaze, names in zip(found.gazes, batches.GAZES, strict=True):
        sums = gaze.sum(-1)
        assert gaze.shape[1:] == (len(names), batches.QUERIES, 1 + 400)
        assert ((sums - 1).abs().lt(1e-4) | (sums == 0)).all()
    color = found.gazes[0][0, batches.GAZES[0].index("same_color")]
    n = found.heads["same_color"][0][found.queries[0]]
    known = n > 0
    assert torch.allclose(color[known, 0], 1 / (1 + n[known].float())), "the share of CLS tells how many are alike"


def test_the_last_third_of_the_language_models_steps_see_full_pictures():
    from training.train import phases

    plan = phases("language", 1.0) + phases("reading", 1.0) + phases("together", 1.0)
    at_the_end = 0
    for phase in reversed(plan):
        if (phase.rows, phase.cols) != (GRID, GRID):
            break
        at_the_end += phase.steps
    assert at_the_end >= sum(p.steps for p in plan) / 3


def test_training_resumes_to_the_same_weights(tmp_path):
    """Six steps at once, and six in two goes of three with a stop between."""
    from torch import nn

    from training.train import Run

    def train(folder: Path, stop_after: int | None) -> list[torch.Tensor]:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        net = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(4, 4)]), "head": nn.Linear(4, 2)})
        run = Run("text", folder, 6 / 240, {"net": net}, lr=1e-2)

        def loss_of(step, phase):
            if step == stop_after:
                run.checkpoint()
                raise KeyboardInterrupt
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            return net["head"](net["layers"][0](x)).square().mean(), {}

        try:
            run.train(loss_of)
        except KeyboardInterrupt:
            return []
        return [p.detach().clone() for p in net.parameters()]

    whole = train(tmp_path / "whole", None)
    assert train(tmp_path / "parts", 3) == []
    resumed = train(tmp_path / "parts", None)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
