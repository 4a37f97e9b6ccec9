"""The LLaVA adapter against the unmodified transformers model: same features, logits and tokens."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

import fsr.vlm
from fsr.check.device import hooks_of
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import for_pictures, make
from fsr.tokens import computed_bytes
from fsr.vlm import without_picture
from fsr.vlm.cost import kv_cache_bytes
from tests.looping import each
from tests.proofs import proves
from tests.tiny import save_tiny

QUESTION = "What is left of the black ring?"


def other(shade: int) -> Image.Image:
    return Image.new("RGB", (60, 60), (shade, 90, 10))


@pytest.fixture(scope="module")
def encoding(tiny_vlm, picture):
    return tiny_vlm.encode(tiny_vlm.encode_media([picture]), QUESTION)


@pytest.fixture(scope="module")
def reference(tiny_folder, picture, tiny_vlm):
    """The checkpoint loaded with plain transformers, and its processor's own inputs for picture and question."""
    model = LlavaForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = tiny_vlm.processor.apply_chat_template(chat, add_generation_prompt=True)
    return model, tiny_vlm.processor(images=picture, text=text, return_tensors="pt")


def last(steps):
    return list(steps)[-1]


# -- media


def test_features_and_embeddings_are_the_models_own(tiny_vlm, encoding, reference):
    model, inputs = reference
    hidden = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[-2][0, 1:]
    assert torch.allclose(encoding.tokens.features, hidden, atol=1e-6)
    projected = model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
    assert torch.equal(encoding.tokens.embeddings, projected)


@proves("saliency", family="llava")
@each("implementation", ["sdpa", "eager"])
def test_saliency_equals_eager_attention(tiny_folder, picture, reference, implementation):
    _, inputs = reference
    eager = LlavaForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.float32, attn_implementation="eager")
    attention = eager.eval().model.vision_tower(inputs["pixel_values"], output_attentions=True).attentions[-2]
    expected = attention[0, :, 0, 1:].mean(dim=0)
    vlm = fsr.vlm.load(str(tiny_folder))
    vlm.model.model.vision_tower.config._attn_implementation = implementation
    saliency = vlm.encode_media([picture]).saliency
    assert torch.allclose(saliency, expected, atol=1e-5)
    assert saliency.max() > 2 * saliency.min()  # the check would be empty on even attention


def test_no_hook_outlives_a_call(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder))
    before = hooks_of(vlm.model)
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    last(vlm.generate(encoding, None, 2))
    # transformers installs its own recorders for hidden states once; ours must not add to them
    plain = LlavaForConditionalGeneration.from_pretrained(tiny_folder)
    own = hooks_of(plain)
    plain.get_image_features(pixel_values=torch.zeros(1, 3, 70, 70))
    assert hooks_of(vlm.model) - before == hooks_of(plain) - own


def test_hooks_are_removed_when_the_tower_fails(tiny_folder):
    vlm = fsr.vlm.load(str(tiny_folder))
    vlm.encode_media([other(1)])
    before = hooks_of(vlm.model)
    with pytest.raises(ValueError, match="Input image size"):
        vlm.tower.read(torch.zeros(1, 3, 20, 20))
    assert hooks_of(vlm.model) == before


@each("part", ["vision_tower", "language_model"])
def test_a_gpu_without_room_is_one_sentence(tiny_folder, part):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    vlm = fsr.vlm.load(str(tiny_folder))
    encoding = vlm.encode(vlm.encode_media([other(1)]), QUESTION)
    runs = {
        "vision_tower": lambda: vlm.encode_media([other(2)]),
        "language_model": lambda: last(vlm.generate(encoding)),
    }
    getattr(vlm.model.model, part).register_forward_pre_hook(full)
    with pytest.raises(FsrError, match="the memory of the GPU is full"):
        runs[part]()


def test_nbytes_counts_what_is_held(tiny_vlm, encoding):
    media = encoding.media
    captured = sum(x.numel() * x.element_size() for x in media.captures.values() if x is not None)
    assert media.nbytes - captured - computed_bytes(media.computed) == 4 * 25 * (48 + 32 + 1 + 24)


@each("frames", [0, 65])
def test_the_number_of_frames_is_checked(tiny_vlm, picture, frames):
    with pytest.raises(InvalidInput, match=f"1 to 64 frames, not {frames}"):
        tiny_vlm.encode_media([picture] * frames)


@proves("several", family="llava")
def test_several_frames_keep_their_order(tiny_vlm, picture):
    frames = [picture, other(200), picture.rotate(180)]
    media = tiny_vlm.encode_media(frames)
    assert media.layout.frame.tolist() == [0] * 25 + [1] * 25 + [2] * 25
    for i, frame in enumerate(frames):
        alone = tiny_vlm.encode_media([frame])
        assert torch.allclose(media.embeddings[25 * i : 25 * (i + 1)], alone.embeddings, atol=1e-5)
        assert torch.allclose(media.saliency[25 * i : 25 * (i + 1)], alone.saliency, atol=1e-6)
    encoding = tiny_vlm.encode(media, QUESTION)
    assert (encoding.prompt == 4).sum() == 75
    assert last(tiny_vlm.generate(encoding, make("fsr")(encoding.tokens, 10), 3)).cost.visual_tokens == 10


def test_palette_and_grey_pictures_are_taken(tiny_vlm, picture):
    assert len(tiny_vlm.encode_media([picture.convert("P")]).embeddings) == 25
    assert len(tiny_vlm.encode_media([picture.convert("L")]).embeddings) == 25


# -- logits and tokens


@proves("pictures", family="llava")
def test_all_tokens_kept_give_the_unmodified_logits(tiny_vlm, encoding, reference):
    model, inputs = reference
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    assert (tiny_vlm.logits(encoding) - expected).abs().max() <= 1e-5
    everything = make("full")(encoding.tokens, len(encoding.tokens))
    assert (tiny_vlm.logits(encoding, everything) - expected).abs().max() <= 1e-5


def test_the_checkpoint_would_sample_but_answers_are_greedy(tiny_vlm, encoding, reference):
    model, inputs = reference
    assert model.generation_config.do_sample
    expected = model.generate(**inputs, max_new_tokens=10, do_sample=False, temperature=None)[
        0, inputs["input_ids"].shape[1] :
    ]
    step = last(tiny_vlm.generate(encoding, None, 10))
    assert step.token_ids == [t for t in expected.tolist() if t != 3]
    assert len(step.token_ids) == 10
    assert last(tiny_vlm.generate(encoding, None, 10)).token_ids == step.token_ids


@proves("kept", family="llava")
@each("budget", [1, 7, 24])
def test_pruned_answers_equal_a_plain_run_on_the_pruned_embeddings(tiny_vlm, encoding, reference, budget):
    """Independent: the sequence is cut and pasted by hand and given to transformers' own generate."""
    model, inputs = reference
    selection = make("fsr")(encoding.tokens, budget)
    table = model.get_input_embeddings().weight
    ids = inputs["input_ids"][0].tolist()
    first = ids.index(4)
    rows = [table[ids[:first]], selection.embeddings, table[ids[first + 25 :]]]
    embeds = torch.cat(rows)[None].detach()
    expected = model.generate(inputs_embeds=embeds, max_new_tokens=10, do_sample=False, temperature=None)[0]
    assert last(tiny_vlm.generate(encoding, selection, 10)).token_ids == [t for t in expected.tolist() if t != 3]
    with torch.no_grad():
        logits = model(inputs_embeds=embeds).logits[0]
    assert (tiny_vlm.logits(encoding, selection) - logits).abs().max() <= 1e-5


def test_the_answer_depends_on_the_kept_tokens(tiny_vlm, encoding):
    full, few = tiny_vlm.logits(encoding)[-1], tiny_vlm.logits(encoding, make("random")(encoding.tokens, 2))[-1]
    assert (full - few).abs().max() > 0.01


@each("method", for_pictures())
def test_every_method_answers(tiny_vlm, picture, method):
    pruner = make(method)
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([picture], needs=pruner.requires), QUESTION, pruner.requires)
    selection = pruner(encoding.tokens, 6)
    step = last(tiny_vlm.generate(encoding, selection, 3))
    assert step.cost.visual_tokens == len(selection.sent)


def test_blind_answers_read_no_visual_token(tiny_vlm, encoding):
    blind = without_picture(encoding)
    assert tiny_vlm.logits(encoding, blind).shape[0] == len(encoding.prompt) - 25
    assert last(tiny_vlm.generate(encoding, blind, 3)).cost.visual_tokens == 0


def test_batches_answer_as_one_by_one(tiny_vlm, picture, encoding):
    media = [tiny_vlm.encode_media([frame]) for frame in (picture, other(40))]
    questions = ["a?", "How many triangles are there in the picture?", "what is it"]
    encodings = [tiny_vlm.encode(m, q) for m in media for q in questions]
    requests = [(e, s) for e in encodings for s in (None, make("fsr")(e.tokens, 5), without_picture(e))]
    expected = [last(tiny_vlm.generate(e, s, 12)).text for e, s in requests]
    assert tiny_vlm.generate_batch(requests, 12, batch_size=4) == expected
    assert tiny_vlm.generate_batch(requests, 12, batch_size=1) == expected
    assert len(set(expected)) > len(expected) // 2
    assert tiny_vlm.generate_batch([], 12) == []


def test_half_precision_runs(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder), dtype="bfloat16")
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    assert encoding.tokens.embeddings.dtype == torch.bfloat16
    assert encoding.tokens.saliency.dtype == encoding.tokens.relevance.dtype == torch.float32
    assert last(vlm.generate(encoding, make("fsr")(encoding.tokens, 5), 3)).cost.kv_bytes > 0


# -- stopping, ending, streaming


def test_end_of_text_ends_the_answer_and_is_not_shown(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder))
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    free = last(vlm.generate(encoding, None, 6)).token_ids
    vlm.decoder.eos = frozenset({free[3]})
    cut = free.index(free[3])
    steps = list(vlm.generate(encoding, None, 6))
    assert steps[-1].end == "eos"
    assert steps[-1].token_ids == free[:cut]
    assert steps[-1].cost.new_tokens == cut + 1
    assert vlm.generate_batch([(encoding, None)], 6) == [steps[-1].text]


def test_the_cap_ends_the_answer(tiny_vlm, encoding):
    for cap in (1, 5):
        step = last(tiny_vlm.generate(encoding, None, cap))
        assert (step.end, len(step.token_ids), step.cost.new_tokens) == ("length", cap, cap)
    assert last(tiny_vlm.generate(encoding, None, 1)).cost.decode_ms_per_token is None


def test_stop_ends_it_after_the_token_at_work(tiny_vlm, encoding):
    stop = threading.Event()
    seen = []
    for step in tiny_vlm.generate(encoding, None, 100, stop):
        seen.append(step)
        if len(seen) == 3:
            stop.set()
    assert seen[-1].end == "stopped"
    assert seen[-1].done
    assert len(seen[-1].token_ids) == 4
    assert seen[-1].cost is not None


def test_an_abandoned_answer_blocks_nobody(tiny_vlm, encoding):
    half = tiny_vlm.generate(encoding, None, 50)
    next(half)
    done = []
    thread = threading.Thread(target=lambda: done.append(last(tiny_vlm.generate(encoding, None, 3))), daemon=True)
    thread.start()
    thread.join(20)
    assert done
    half.close()


def test_only_the_last_step_is_done(tiny_vlm, encoding):
    steps = list(tiny_vlm.generate(encoding, None, 4))
    assert [s.done for s in steps] == [False, False, False, True]
    assert [s.cost is not None for s in steps] == [False, False, False, True]
    assert [len(s.token_ids) for s in steps] == [1, 2, 3, 4]


def test_streamed_text_holds_back_half_a_character(tiny_vlm, encoding, monkeypatch):
    ids = tiny_vlm.tokenizer("né 漢 🙂", add_special_tokens=False)["input_ids"]
    growing = [tiny_vlm.text(ids[: n + 1], whole=n + 1 == len(ids)) for n in range(len(ids))]
    assert growing[-1] == "né 漢 🙂"
    assert len(ids) > len("né 漢 🙂")
    assert all("né 漢 🙂".startswith(text) for text in growing)


@each("bad", [0, -1, 1025, 2.5, "10", True, None])
def test_max_new_tokens_is_checked_at_the_call(tiny_vlm, encoding, bad):
    with pytest.raises(InvalidInput, match="whole number from 1 to 1024"):
        tiny_vlm.generate(encoding, None, bad)


# -- costs


def test_costs_are_of_this_run(tiny_vlm, encoding):
    selection = make("fsr")(encoding.tokens, 5)
    cost = last(tiny_vlm.generate(encoding, selection, 8, select_ms=1.5)).cost
    assert (cost.visual_tokens, cost.new_tokens, cost.select_ms) == (5, 8, 1.5)
    assert cost.encode_ms == encoding.media.encode_ms > 0
    assert cost.prefill_ms > 0
    assert cost.decode_ms_per_token > 0
    assert cost.peak_bytes is None
    assert cost.kv_bytes == kv_cache_bytes(tiny_vlm.shape, len(encoding.prompt) - 20, 4)
    full = last(tiny_vlm.generate(encoding, None, 8)).cost
    assert full.kv_bytes > cost.kv_bytes
    assert full.flops_estimated > cost.flops_estimated


def test_a_slow_reader_is_not_counted(tiny_vlm, encoding):
    import time

    for one in tiny_vlm.generate(encoding, None, 3):
        time.sleep(1)
        step = one
    assert step.cost.decode_ms_per_token < 1000, "at most what the reader took for one token"


def test_the_warm_up_runs_once_and_is_not_counted(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder))
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    passes = []
    vlm.model.model.language_model.register_forward_pre_hook(lambda *_: passes.append(1))
    assert last(vlm.generate(encoding, None, 3)).cost.new_tokens == 3
    assert len(passes) == 3 + 2
    last(vlm.generate(encoding, None, 3))
    assert len(passes) == 3 + 2 + 3


# -- threads


def test_threads_share_a_model_and_get_their_own_answers(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder))
    jobs = [(frame, question) for frame in (picture, other(9), other(99)) for question in ("a?", "what colour is it?")]
    inside, most = [], []

    def enter(*_):
        inside.append(1)
        most.append(len(inside))

    vlm.model.model.language_model.register_forward_pre_hook(enter)
    vlm.model.model.language_model.register_forward_hook(lambda *_: inside.pop() and None)

    def answer(frame, question):
        encoding = vlm.encode(vlm.encode_media([frame]), question)
        return last(vlm.generate(encoding, make("fsr")(encoding.tokens, 6), 6)).token_ids

    expected = [answer(*job) for job in jobs]
    found: dict[int, list[int]] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: answer(*jobs[i])})) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[i] for i in range(len(jobs))] == expected
    assert max(most) == 1


# -- other checkpoints


def test_a_kept_cls_token_has_no_rectangle(tmp_path, picture):
    vlm = fsr.vlm.load(str(save_tiny(tmp_path / "full", vision_feature_select_strategy="full")))
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    assert len(encoding.tokens) == 26
    assert encoding.tokens.layout.row[0] == -1
    assert encoding.tokens.layout.rect[0].isnan().all()
    assert encoding.tokens.layout.rect[1:].isfinite().all()
    assert last(vlm.generate(encoding, make("fsr")(encoding.tokens, 5), 2)).cost.visual_tokens == 5


def test_several_feature_layers_use_the_last_for_scores(tmp_path, picture):
    vlm = fsr.vlm.load(str(save_tiny(tmp_path / "two", vision_feature_layer=[-3, -2])))
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    assert encoding.tokens.features.shape == (25, 64)
    hidden = vlm.model.model.vision_tower(vlm.pixels([picture]), output_hidden_states=True).hidden_states[-2][0, 1:]
    assert torch.allclose(encoding.tokens.features[:, 32:], hidden, atol=1e-6)
    assert torch.allclose(encoding.media.clip_patches, vlm.relevance_model.patches(hidden), atol=1e-6)


@each(("feature", "layer"), [(-1, 3), (-2, 2), (-4, 0), (1, 0), (4, 3)])
def test_saliency_is_read_where_the_projector_is_fed(tiny_vlm, feature, layer):
    assert tiny_vlm.tower._fed_layer(feature) == layer


def test_a_layer_that_does_not_exist_is_refused(tiny_vlm):
    with pytest.raises(FsrError, match="names no layer"):
        tiny_vlm.tower._fed_layer(-7)


def test_needs_decides_what_is_captured(tiny_vlm, encoding):
    tokens = tiny_vlm.encode(encoding.media, QUESTION, frozenset()).tokens
    assert tokens.saliency is None
    assert tokens.relevance is None
    assert encoding.tokens.saliency is not None
    assert replace(encoding.tokens).relevance is not None
