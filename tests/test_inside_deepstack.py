"""Methods inside the language model where DeepStack adds to visual tokens behind its first layers: Qwen3-VL.

A tiny model of seven layers with rows behind the first three, so that every method prunes before the last of them.
Against the unmodified class, which reads the pixels and the whole prompt while masks hide what a layer has lost; and,
for what is chosen and for tokens made of several, against its layers run one by one.
"""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

import fsr.vlm
from fsr.pruners import make
from tests.inside_references import LAYERS, SlowQwen3, hidden_by_masks
from tests.looping import each
from tests.proofs import proves
from tests.test_vlm_llava import last
from tests.tiny_checkpoints import save_qwen3
from tests.tiny_families import living
from tests.tiny_today import case

ROWS_BEHIND = 3
MEDIA = [*(pytest.param(name, marks=pytest.mark.slow) for name in ("3:1", "several")), "video"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Our own reader, and the plain model in eager attention."""
    folder = save_qwen3(tmp_path_factory.mktemp("deepstack"))
    config = Qwen3VLConfig.from_pretrained(folder)
    config.text_config.num_hidden_layers, config.vision_config.deepstack_visual_indexes = LAYERS, [0, 1, 2]
    torch.manual_seed(0)
    living(Qwen3VLForConditionalGeneration(config)).save_pretrained(folder)
    vlm = fsr.vlm.load(str(folder))
    vlm.decoder.eos = frozenset()
    eager = {"dtype": torch.float32, "attn_implementation": "eager"}
    return vlm, Qwen3VLForConditionalGeneration.from_pretrained(folder, **eager).eval()


@proves("inside", family="qwen3_vl")
@pytest.mark.parametrize("name", MEDIA)
@pytest.mark.parametrize("share", [0.5, pytest.param(0.8, marks=pytest.mark.slow)])
@each("method", ["fastv", "pyramiddrop", "dart"])
def test_pruned_answers_equal_a_masked_run_of_the_unmodified_model(deep, name, method, share):
    vlm, model = deep
    encoding, inputs = case(vlm, name)
    n, visual = len(encoding.tokens), inputs["mm_token_type_ids"][0].nonzero()[:, 0]
    selection = make(method)(encoding.tokens, round(share * n))
    said = last(vlm.generate(encoding, selection, 10)).token_ids
    assert int(selection.depth.min()) < ROWS_BEHIND, "something must have gone before the last rows came"
    again = make(method)(encoding.tokens, round(share * n))
    assert vlm.forced(encoding, again, said).argmax(dim=1).tolist() == said
    ids = vlm.tokenizer("a red ring", add_special_tokens=False)["input_ids"]  # an answer by chance has marks in it
    expected = hidden_by_masks(model, inputs, selection.depth, ids[:-1])
    alive = torch.ones(len(expected), dtype=torch.bool).index_fill_(0, visual[selection.depth < LAYERS], False)
    prompt = len(encoding.prompt)
    ours = vlm.forced(encoding, again, ids)
    assert len(ids) == 10
    assert (ours - expected[prompt - 1 :]).abs().max() <= 1e-4
    logits = vlm.logits(encoding, make(method)(encoding.tokens, round(share * n)))
    assert (logits - expected[:prompt][alive[:prompt]]).abs().max() <= 1e-4


@proves("inside", family="qwen3_vl")
@pytest.mark.parametrize("name", MEDIA)
@each("method", ["fastv", "pyramiddrop", "dart", "sparsevlm"])
def test_every_rule_equals_loops_over_eager_layers(deep, name, method):
    """A token that SparseVLM makes of several gets the mean of their rows, at the place of its centre."""
    vlm, model = deep
    encoding, inputs = case(vlm, name)
    n, slow = len(encoding.tokens), SlowQwen3(model, inputs)
    selection = make(method)(encoding.tokens, round(0.6 * n))
    logits = vlm.logits(encoding, selection)
    expected, depth = slow.read(method, dict(selection.pruner.schedule(n, LAYERS, round(0.6 * n))))
    assert selection.depth.tolist() == depth
    assert (logits - expected).abs().max() <= 1e-4
    assert method != "sparsevlm" or selection.facts["recycled"] >= 3
    slow.rows = [0 * rows for rows in slow.rows]
    without, _ = slow.read(method, dict(selection.pruner.schedule(n, LAYERS, round(0.6 * n))))
    assert without.shape != expected.shape or (without - expected).abs().max() > 1e-2, "rows that change nothing"


@each("layers", [2, 3])
def test_rows_behind_the_last_layer_are_added_too(deep, layers):
    """A model cut to no more layers than DeepStack has rows, as a benchmark may."""
    vlm = deep[0]
    encoding, _ = case(vlm, "3:1")
    text = vlm.decoder.model.model.language_model
    whole, text.layers, text.config.num_hidden_layers = text.layers, text.layers[:layers], layers
    try:
        kept = make("fastv")(encoding.tokens, len(encoding.tokens))
        assert (vlm.logits(encoding, kept) - vlm.logits(encoding)).abs().max() <= 1e-5
    finally:
        text.layers, text.config.num_hidden_layers = whole, LAYERS
