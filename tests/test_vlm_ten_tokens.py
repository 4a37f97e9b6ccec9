"""Every family, token by token: the logits of ten generated tokens, with all visual tokens and with few of them.

The reference is transformers' own `generate` on the processor's own inputs. Dropped tokens are hidden from it by an
attention mask, not removed; where transformers' class reads a checkpoint otherwise (LLaVA-Video's frames), or hiding
is not leaving out (Qwen3.5), inputs are put together by hand. A batch of one throughout: that is what the adapters
promise.
"""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionForConditionalGeneration,
    Qwen2_5_VLForConditionalGeneration,
)

import fsr.vlm
from fsr.pruners import make
from fsr.vlm.llava_video import LlavaVideo
from tests import test_vlm_onevision as onevision
from tests import test_vlm_qwen as qwen
from tests import tiny_today as today
from tests.proofs import proves
from tests.test_vlm_llava_next import GRIDS, inputs_of
from tests.tiny import save_tiny
from tests.tiny_families import QUESTION, newline_rows, noise, save_next, save_onevision, save_qwen

NEW = 10
MAKERS = {
    "llava": (save_tiny, LlavaForConditionalGeneration),
    "next": (save_next, LlavaNextForConditionalGeneration),
    "onevision": (save_onevision, LlavaOnevisionForConditionalGeneration),
    "qwen": (save_qwen, Qwen2_5_VLForConditionalGeneration),
    **{family: (row.save, row.kind) for family, row in today.ROWS.items()},
}
ONE, WIDE, HIGH = (120, 120), (300, 100), (100, 300)
FRAMES = {
    "several": ([noise(270, 90), noise(90, 150, 2)], None),
    "video": ([noise(200, 130, seed) for seed in range(3)], (0.0, 1.0, 2.0)),
}
CASES = [
    *(("llava", size) for size in (ONE, WIDE, HIGH)),
    ("llava", "several"),
    *(("next", size) for size in (*GRIDS, "several")),
    *(("onevision", name) for name in onevision.CASES),
    *(("qwen", name) for name in qwen.CASES),
    *today.CASES,
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root, held = tmp_path_factory.mktemp("ten"), {}

    def load(family):
        if family not in held:
            save, kind = MAKERS[family]
            folder = save(root / family)
            model = kind.from_pretrained(folder, dtype=torch.float32).eval()
            held[family] = (fsr.vlm.load(str(folder)), model, folder)
        return held[family]

    return load


def case(vlm, family, name):
    """An encoding, the processor's own inputs for it, and the length of every row with whether a newline closes it."""
    if family in today.ROWS:
        encoding, inputs = today.case(vlm, name)
        return encoding, inputs, [(len(encoding.tokens), False)]
    if family in ("onevision", "qwen"):
        module = onevision if family == "onevision" else qwen
        encoding, inputs = module.case(vlm, name)
        return encoding, inputs, onevision.rows_of(name) if family == "onevision" else [(len(encoding.tokens), False)]
    sizes = [(160, 100), HIGH] if name == "several" else [name]
    frames = [noise(*size, seed) for seed, size in enumerate(sizes)]
    encoding = vlm.encode(vlm.encode_media(frames), QUESTION)
    rows = [(25, False)] * len(frames)
    if family == "next":
        rows = [row for size in sizes for row in [(25, False)] + [(GRIDS[size][1], True)] * GRIDS[size][0]]
    return encoding, inputs_of(vlm, frames), rows


def mask_of(encoding, kept, rows):
    """(1, L) int64: 0 where a token was dropped, or the newline of a row of which nothing is left."""
    mask = torch.ones(1, len(encoding.prompt), dtype=torch.long)
    place = [i for i, token in enumerate(encoding.prompt.tolist()) if token == int(encoding.prompt[encoding.visual[0]])]
    assert len(place) == sum(n + closed for n, closed in rows)
    kept, token, at = set(kept.tolist()), 0, 0
    for n, closed in rows:
        inside = [token + i in kept for i in range(n)] + [any(token + i in kept for i in range(n))] * closed
        for i, read in enumerate(inside):
            mask[0, place[at + i]] = int(read)
        token, at = token + n, at + n + closed
    return mask


def answered(vlm, encoding, selection):
    """(10,) ids and (10, V) logits of the adapter's own answer, as it is streamed."""
    logits, eos = [], vlm.decoder.eos
    handle = vlm.decoder.model.register_forward_hook(lambda _module, _inputs, out: logits.append(out.logits[0, -1]))
    try:
        vlm.decoder.eos = frozenset()  # ten tokens, whatever they say
        vlm.warm_up()
        logits.clear()
        ids = list(vlm.generate(encoding, selection, NEW))[-1].token_ids
    finally:
        vlm.decoder.eos = eos
        handle.remove()
    return ids, torch.stack(logits)


def agree(ours, theirs):
    assert ours[0] == theirs[0]
    assert len(ours[0]) == len(ours[1]) == NEW
    largest = max(1.0, float(theirs[1].abs().max()))
    assert (ours[1] - theirs[1]).abs().max() <= 1e-5 * largest


def generated(model, inputs):
    """(10,) ids and (10, V) logits of transformers' greedy answer."""
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None  # the class remembers them from call to call
    options = {"max_new_tokens": NEW, "do_sample": False, "temperature": None, "eos_token_id": -1}
    out = model.generate(**inputs, **options, output_logits=True, return_dict_in_generate=True)
    return out.sequences[0, -NEW:].tolist(), torch.cat(out.logits)


def in_one_pass(model, inputs, mask, ids):
    """(10, V): Qwen's model over the whole prompt and the answer, each place at its own position."""
    answer = torch.tensor([ids[:-1]])
    longer = {"input_ids": torch.cat([inputs["input_ids"], answer], dim=1)}
    kinds = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(answer)], dim=1)
    grids = {k: inputs[k] for k in ("image_grid_thw", "video_grid_thw") if k in inputs}
    positions, _ = model.model.get_rope_index(
        longer["input_ids"], mm_token_type_ids=kinds, second_per_grid_ts=inputs.get("second_per_grid_ts"), **grids
    )
    pixels = {k: inputs[k] for k in ("pixel_values", "pixel_values_videos") if k in inputs} | grids
    seen = torch.cat([mask, torch.ones_like(answer)], dim=1)
    with torch.no_grad():
        return model(**longer, **pixels, attention_mask=seen, position_ids=positions, use_cache=False).logits[0, -NEW:]


@torch.no_grad()
def left_out(model, inputs, mask):
    """What generate is given where hiding is not leaving out: the model's own embeddings of what stays, in place."""
    stays, place = mask[0].bool(), inputs["mm_token_type_ids"][0] > 0
    grids = {k: inputs[k] for k in ("image_grid_thw", "video_grid_thw") if k in inputs}
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], **grids
    )
    rows = model.get_input_embeddings()(inputs["input_ids"][0])
    pixels = inputs.get("pixel_values", inputs.get("pixel_values_videos"))
    rows[place] = model.model.visual(pixels, grid_thw=next(iter(grids.values()))).pooler_output
    return {"inputs_embeds": rows[stays][None], "position_ids": positions[..., stays]}


@proves("ten")
@pytest.mark.parametrize(("family", "name"), CASES, ids=str)
def test_all_tokens_give_the_unmodified_logits_for_ten_tokens(loaded, family, name):
    vlm, model, _ = loaded(family)
    encoding, inputs, _ = case(vlm, family, name)
    expected = generated(model, inputs)
    everything = make("full")(encoding.tokens, len(encoding.tokens))
    for selection in (None, everything):
        agree(answered(vlm, encoding, selection), expected)


@proves("ten")
@pytest.mark.parametrize(("family", "name"), CASES, ids=str)
@pytest.mark.parametrize(("method", "share"), [("random", 12), ("fsr", 4)])
def test_few_tokens_give_the_logits_of_all_others_masked_for_ten_tokens(loaded, family, name, method, share):
    vlm, model, _ = loaded(family)
    encoding, inputs, rows = case(vlm, family, name)
    options = {"kappa": 0.0} if method == "fsr" else {}  # what is merged cannot be masked
    selection = make(method, **options)(encoding.tokens, max(2, len(encoding.tokens) // share))
    mask = mask_of(encoding, selection.kept, rows)
    ours = answered(vlm, encoding, selection)
    if family in today.ROWS and not today.ROWS[family].masks:
        agree(ours, generated(model, left_out(model, inputs, mask)))
        hidden = in_one_pass(model, inputs, mask, [0] * NEW)[0]
        assert (hidden - ours[1][0]).abs().max() > 1e-3, "then it could be masked as the others are"
    elif hasattr(model.model, "rope_deltas"):
        expected = in_one_pass(model, inputs, mask, ours[0])
        agree(ours, (expected.argmax(dim=-1).tolist(), expected))
    else:
        agree(ours, generated(model, {**inputs, "attention_mask": mask}))
    unpruned = vlm.forced(encoding, None, ours[0])
    assert (unpruned - ours[1]).abs().max() > 1e-3, "the check would be empty if the dropped tokens made no difference"


@proves("ten", family="llava_video")
@pytest.mark.parametrize("budget", [3, 20, 27])
def test_frames_of_llava_video_give_the_logits_of_inputs_built_by_hand_for_ten_tokens(loaded, budget):
    """One newline a row: transformers' class has one a video."""
    plain, model, _ = loaded("onevision")
    vlm = LlavaVideo(plain.model, plain.processor, id="video", title="video")
    encoding = vlm.encode(vlm.encode_media(*FRAMES["video"]), QUESTION)
    assert len(encoding.tokens) == 27
    selection = make("fsr")(encoding.tokens, budget)
    sequence = newline_rows(selection, 9, 3, model.model.image_newline.detach())
    table = model.get_input_embeddings().weight.detach()
    ids = encoding.prompt
    place = (ids == model.config.video_token_id).nonzero().flatten()
    embeds = torch.cat([table[ids[: place[0]]], sequence, table[ids[place[-1] + 1 :]]])[None]
    agree(answered(vlm, encoding, selection), generated(model, {"inputs_embeds": embeds}))


# -- attention implementations


@pytest.mark.parametrize(
    ("family", "name", "methods"),
    [
        ("llava", WIDE, ("fsr", "cdpruner", "vispruner", "visionzip")),
        ("next", (160, 100), ("fsr", "vispruner")),
        ("onevision", "video", ("fsr", "vispruner")),
        ("qwen", "several", ("fsr", "vispruner")),
        ("qwen", "video", ("fsr", "vispruner")),
        *((family, "several", ("fsr", "vispruner")) for family in today.ROWS if family not in today.SELDOM),
    ],
    ids=str,
)
def test_sdpa_and_eager_choose_the_same(loaded, family, name, methods):
    """In the vision tower, and in the text tower where there is one."""
    vlm, chosen = fsr.vlm.load(str(loaded(family)[2]), media_cache=0), {}
    towers = [vlm.vision]
    towers += [vlm.relevance_model.text_model] if vlm.relevance_model else []
    needs = frozenset().union(*(make(method).requires for method in methods))
    frames, times = ([noise(*name)], None) if isinstance(name, tuple) else FRAMES[name]
    for implementation in ("sdpa", "eager"):
        for tower in towers:
            tower.config._attn_implementation = implementation
        tokens = vlm.encode(vlm.encode_media(frames, times, needs), QUESTION, needs).tokens
        kept = {method: make(method)(tokens, max(4, len(tokens) // 5)).kept.tolist() for method in methods}
        chosen[implementation] = kept
    assert chosen["sdpa"] == chosen["eager"]


def test_sdpa_and_eager_choose_the_same_frames_of_llava_video(loaded):
    plain, chosen = fsr.vlm.load(str(loaded("onevision")[2])), []
    vlm = LlavaVideo(plain.model, plain.processor, id="video", title="video", media_cache=0)
    for implementation in ("sdpa", "eager"):
        plain.model.model.vision_tower.config._attn_implementation = implementation
        tokens = vlm.encode(vlm.encode_media(*FRAMES["video"]), QUESTION).tokens
        chosen.append(make("fsr")(tokens, 6).kept.tolist())
    assert chosen[0] == chosen[1]


# -- what the proofs are about


@pytest.mark.parametrize("family", MAKERS)
def test_tiny_models_share_keys_among_query_heads(loaded, family):
    text = loaded(family)[1].config.get_text_config()
    assert 1 < text.num_key_value_heads < text.num_attention_heads


def test_tiny_pictures_have_tiles_padding_windows_and_grids_that_are_not_square(loaded):
    _, model, _ = loaded("next")
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    assert max(rows * cols for rows, cols in GRIDS.values()) > 3 * side**2  # several tiles
    assert any(rows % side for rows, _ in GRIDS.values())  # padding within a tile
    vlm, model, _ = loaded("qwen")
    window = model.config.vision_config.window_size // 28
    grids = [g for name in qwen.CASES for g in case(vlm, "qwen", name)[0].tokens.layout.grids]
    assert all(max(g.rows, g.cols) > window for g in grids)
    assert any(g.rows != g.cols for g in grids)
