"""Kept tokens at their original positions: what the language model reads is the whole prompt with the others hidden."""

from __future__ import annotations

import json

import pytest
import torch

import fsr.vlm
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.vlm import without_picture
from tests.inside_references import masked
from tests.proofs import proves
from tests.tiny import save_tiny

QUESTION = "What is left of the black ring?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    save_tiny(folder)
    (folder / "fsr.json").write_text(json.dumps({"positions": "original"}))
    return folder


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture(scope="module")
def encoding(vlm, picture):
    return vlm.encode(vlm.encode_media([picture]), QUESTION)


@torch.no_grad()
def hidden_run(vlm, encoding, kept, more=()):
    """Logits of the unmodified model over all tokens and `more` answer tokens; nobody sees the tokens left out."""
    x = vlm.language_inputs(encoding, None)["inputs_embeds"]
    if more:
        x = torch.cat([x, vlm.model.get_input_embeddings()(torch.tensor([more]))], dim=1)
    length = x.shape[1]
    seen = torch.ones(length, dtype=torch.bool)
    seen[encoding.visual] = False
    seen[encoding.visual[kept]] = True
    mask = torch.ones(length, length, dtype=torch.bool).tril() & (seen[None] | torch.eye(length, dtype=torch.bool))
    logits = vlm.model(inputs_embeds=x, attention_mask=mask[None, None], use_cache=False).logits[0]
    return logits[seen]


@proves("positions", family="llava")
@pytest.mark.parametrize("budget", [1, 7, 15])
def test_logits_are_those_of_the_whole_prompt_with_tokens_hidden(vlm, encoding, budget):
    selection = make("random")(encoding.tokens, budget)
    expected = hidden_run(vlm, encoding, selection.kept)
    assert torch.allclose(vlm.logits(encoding, selection), expected, atol=1e-5)
    contiguous = vlm.decoder.logits(vlm.language_inputs(encoding, selection)["inputs_embeds"])
    assert (contiguous - expected).abs().max() > 1e-3, "the check would be empty if positions made no difference"


def test_all_tokens_give_the_unpruned_logits(vlm, encoding):
    everything = make("random")(encoding.tokens, len(encoding.tokens))
    assert torch.allclose(vlm.logits(encoding, everything), vlm.logits(encoding), atol=1e-5)


def test_positions_go_on_while_the_answer_grows(vlm, encoding):
    selection = make("random")(encoding.tokens, 5)
    ids = list(vlm.generate(encoding, selection, 8))[-1].token_ids
    expected = hidden_run(vlm, encoding, selection.kept, ids)[-len(ids) - 1 :].argmax(-1).tolist()
    assert ids == expected[: len(ids)]
    forced = vlm.forced(encoding, selection, ids)
    assert torch.allclose(forced, hidden_run(vlm, encoding, selection.kept, ids)[-len(ids) - 1 : -1], atol=1e-5)


@pytest.mark.parametrize("method", ["fastv", "pyramiddrop"])
def test_methods_inside_the_language_model_keep_positions_as_well(vlm, encoding, method):
    selection = make(method)(encoding.tokens, 15)
    ids = list(vlm.generate(encoding, selection, 8))[-1].token_ids
    expected = masked(vlm, encoding, selection.depth, renumbered=False, ids=ids)[-len(ids) - 1 :].argmax(-1).tolist()
    assert ids == expected[: len(ids)]
    again = make(method)(encoding.tokens, 15)
    assert torch.allclose(vlm.logits(encoding, again)[-1], masked(vlm, encoding, again.depth, False)[-1], atol=1e-5)


def test_batches_answer_as_one_by_one(vlm, encoding):
    chosen = [None, without_picture(encoding), *(make("random")(encoding.tokens, k) for k in (2, 5, 9))]
    expected = [list(vlm.generate(encoding, s, 8))[-1].text for s in chosen]
    assert vlm.generate_batch([(encoding, s) for s in chosen], 8) == expected


def test_what_is_sent_beside_the_grid_has_a_place(vlm, picture):
    needs = make("visionzip").requires
    encoding = vlm.encode(vlm.encode_media([picture], needs=needs), QUESTION, needs)
    selection = make("visionzip")(encoding.tokens, 8)
    assert selection.before is not None
    inputs = vlm.language_inputs(encoding, selection)
    positions = inputs["position_ids"][0]
    assert len(positions) == inputs["inputs_embeds"].shape[1]
    assert (positions.diff() >= 0).all()
    assert int(positions[-1]) == len(encoding.prompt) - 1


def test_unknown_positions_are_refused(folder, tmp_path):
    save_tiny(tmp_path)
    (tmp_path / "fsr.json").write_text(json.dumps({"positions": "random"}))
    with pytest.raises(InvalidInput, match="positions must be one of contiguous, original, not 'random'"):
        fsr.vlm.load(str(tmp_path))
