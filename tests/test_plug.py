"""`fsr.prune` on unmodified transformers models of every family, and that it leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from transformers import AutoTokenizer, CLIPModel

import fsr
import fsr.vlm
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm.plug import kept_from
from tests.proofs import proves
from tests.tiny import save_tiny
from tests.tiny_families import QUESTION, answer, noise, save_next, save_onevision, save_qwen
from tests.tiny_today import ALIKE, ROWS

MAKERS = {
    "llava": (save_tiny, "LlavaForConditionalGeneration"),
    "next": (save_next, "LlavaNextForConditionalGeneration"),
    "onevision": (save_onevision, "LlavaOnevisionForConditionalGeneration"),
    "qwen": (save_qwen, "Qwen2_5_VLForConditionalGeneration"),
    **{family: (row.save, row.kind.__name__) for family, row in ROWS.items()},
}
CASES = [
    *[(family, kind) for family in MAKERS for kind in ("picture", "several")],
    *[
        (family, "video")
        for family in ("onevision", "qwen", *(name for name, row in ROWS.items() if "video" in row.grids))
    ],
]
QUICK = {family: [*ROWS[family].grids][-1] for family in ALIKE}  # clips, or several pictures
CASES = [pytest.param(*one, marks=[pytest.mark.slow] if QUICK.get(one[0], one[1]) != one[1] else []) for one in CASES]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """family -> its directory, our own reader of it, and a plain transformers model and processor; made once each."""
    made = {}

    def of(family):
        if family not in made:
            save, kind = MAKERS[family]
            folder = save(tmp_path_factory.mktemp("plug") / family)
            model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32).eval()
            made[family] = folder, fsr.vlm.load(str(folder)), model, transformers.AutoProcessor.from_pretrained(folder)
        return made[family]

    return of


def inputs_of(processor, family, kind):
    """Frames, their times, and the processor's own inputs."""
    frames = {
        "picture": [noise(160, 100)],
        "several": [noise(160, 100), noise(100, 200, 2)],
        "video": [noise(160, 100, seed) for seed in range(4)],
    }[kind]
    part = {"type": "video" if kind == "video" else "image"}
    content = [part] * (1 if kind == "video" else len(frames)) + [{"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    if kind == "video":
        options = {"do_sample_frames": False} if family.startswith("qwen") else {}
        return frames, (0.0, 1.0, 2.0, 3.0), processor(text=text, videos=[frames], return_tensors="pt", **options)
    images = [frames] if family in ("onevision", "smolvlm") else frames
    begun = text.startswith(processor.tokenizer.bos_token or "?")  # by the template
    return frames, None, processor(text=text, images=images, return_tensors="pt", add_special_tokens=not begun)


def greedy(model, inputs):
    return model.generate(**inputs, max_new_tokens=10, do_sample=False, temperature=None)


@proves("prune")
@pytest.mark.parametrize(("family", "kind"), CASES)
def test_pruned_answers_are_those_of_our_own_reader(opened, family, kind):
    """The reader is proven against the unmodified models elsewhere."""
    _, vlm, model, processor = opened(family)
    frames, times, inputs = inputs_of(processor, family, kind)
    if kind == "video" and family != "onevision":  # the processor assumes 24 frames a second
        times = tuple(t / 24 for t in times)
    encoding = vlm.encode(vlm.encode_media(frames, times=times), QUESTION, frozenset({"saliency"}))
    selection = make("fsr")(encoding.tokens, 8)
    with fsr.prune(model, processor, method="fsr", budget=8) as pruned:
        out = greedy(model, inputs)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(out[:, :length], inputs["input_ids"])
    assert [t for t in out[0, length:].tolist() if t != 3] == answer(vlm, encoding, selection)
    assert pruned.selection.kept.tolist() == selection.kept.tolist()
    assert pruned.encoding.question == QUESTION


@pytest.mark.parametrize(("family", "kind"), CASES)
@pytest.mark.slow
def test_a_budget_of_all_is_the_unpruned_model_and_no_trace_is_left(opened, family, kind):
    _, _, model, processor = opened(family)
    inputs = inputs_of(processor, family, kind)[2]
    plain = greedy(model, inputs)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    attributes, held = set(vars(model)), copy.copy(getattr(model.model, "rope_deltas", None))
    with fsr.prune(model, processor, method="full", budget="100 %"):
        assert torch.equal(greedy(model, inputs), plain)
    assert set(vars(model)) == attributes
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    left = getattr(model.model, "rope_deltas", None)
    assert (left is None and held is None) or torch.equal(left, held)
    assert torch.equal(greedy(model, inputs), plain)


def test_the_model_is_given_back_when_the_block_fails(opened):
    _, _, model, processor = opened("llava")
    with pytest.raises(KeyError), fsr.prune(model, processor):
        raise KeyError
    assert "generate" not in vars(model)


def test_relevance_comes_from_the_clip_model_given(opened):
    folder, vlm, model, processor = opened("llava")
    frames, _, inputs = inputs_of(processor, "llava", "picture")
    clip, tokenizer = CLIPModel.from_pretrained(folder / "clip"), AutoTokenizer.from_pretrained(folder / "clip")
    tokens = vlm.encode(vlm.encode_media(frames), QUESTION).tokens
    with fsr.prune(model, processor, budget=6, relevance=(clip, tokenizer)) as pruned:
        greedy(model, inputs)
        assert torch.allclose(pruned.tokens.relevance, tokens.relevance, atol=1e-5)
        assert pruned.selection.kept.tolist() == make("fsr")(tokens, 6).kept.tolist()
    with fsr.prune(model, processor, budget=6, relevance=(clip, tokenizer), question="and what else?") as pruned:
        greedy(model, inputs)
        assert not torch.allclose(pruned.tokens.relevance, tokens.relevance, atol=1e-3)
    with fsr.prune(model, processor, budget=6) as pruned:
        greedy(model, inputs)
        assert pruned.tokens.relevance is None


def test_text_alone_is_answered_as_always(opened):
    _, _, model, processor = opened("llava")
    ids = processor.tokenizer("hello", return_tensors="pt")["input_ids"]
    plain = model.generate(ids, max_new_tokens=4, do_sample=False)
    with fsr.prune(model, processor):
        assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), plain)


def test_a_dictionary_result_holds_the_prompt_too(opened):
    _, _, model, processor = opened("llava")
    inputs = inputs_of(processor, "llava", "picture")[2]
    with fsr.prune(model, processor, budget=5):
        out = model.generate(**inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
        plain = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert torch.equal(out.sequences, plain)


@pytest.mark.parametrize(
    ("budget", "kept"),
    [(64, 64), ("64", 64), (0.25, 144), ("25 %", 144), ("25%", 144), ("-77.8 %", 128), ("-88.9%", 64), ("-99.99 %", 1)],
)
def test_budgets_are_counts_shares_or_reductions(budget, kept):
    assert kept_from(budget, 576) == kept


@pytest.mark.parametrize("budget", ["much", "-100 %", "120 %", 0.0, 1.5, -2.0, True, None, "", "%"])
def test_budgets_that_are_nothing(budget):
    with pytest.raises(InvalidInput, match="the budget must be"):
        kept_from(budget, 576)


def test_what_cannot_be_served_is_one_sentence(opened):
    _, _, model, processor = opened("llava")
    inputs = inputs_of(processor, "llava", "picture")[2]
    double = {name: torch.cat([value, value]) for name, value in inputs.items()}
    short = {**inputs, "input_ids": inputs["input_ids"][:, 30:]}
    short.pop("attention_mask")
    with fsr.prune(model, processor, budget=5):
        with pytest.raises(InvalidInput, match="one prompt at a time"):
            greedy(model, double)
        with pytest.raises(InvalidInput, match="the prompt has places for"):
            greedy(model, short)
        with pytest.raises(InvalidInput, match="being pruned already"), fsr.prune(model, processor):
            pass
    with pytest.raises(InvalidInput, match="inside the language model"), fsr.prune(model, processor, "fastv"):
        pass
    model.train()
    with pytest.raises(InvalidInput, match="training mode"), fsr.prune(model, processor):
        pass
    model.eval()
