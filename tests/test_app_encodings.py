"""One encoding a question: methods that need more add to it; all questions about a picture share its similarities."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from app.encodings import Encodings
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, for_pictures, make
from fsr.similarity import Similarities

QUESTIONS = ("what is it?", "and where?")
BEFORE = for_pictures()
OWN = {"prumerge", "pixelprune"}  # compares the keys of the tower, which no other method does; runs it once more


@pytest.fixture
def passes(tiny_vlm):
    """Counts the passes of the vision tower."""
    tiny_vlm.encode_media(frames(200))  # the tower's first pass warms it up
    ran: list[int] = []
    handle = tiny_vlm.model.model.vision_tower.register_forward_hook(lambda *_: ran.append(1))
    yield ran
    handle.remove()


@pytest.fixture
def matrices(monkeypatch):
    """Counts the matrices of all similarities that are computed."""
    made: list[int] = []
    rest = Similarities._compute_rest
    monkeypatch.setattr(Similarities, "_compute_rest", lambda self: made.append(len(self)) or rest(self))
    return made


def frames(shade: int) -> list[Image.Image]:
    return [Image.new("RGB", (60, 60), (shade, 90, 120))]


def asked(encodings, vlm, question, needs, shade=1):
    return encodings.get(vlm, (shade, question), frames(shade), None, question, frozenset(needs))


def test_two_questions_and_every_method_take_two_passes_and_one_matrix_a_space(tiny_vlm, passes, matrices):
    encodings = Encodings(8, 1e9)
    for question in QUESTIONS:
        for name in BEFORE:
            encoding = asked(encodings, tiny_vlm, question, REGISTRY[name].requires, shade=201)
            if name not in OWN:
                make(name)(encoding.tokens, 6)
    assert len(passes) == 2, "one for the picture, one for all captures"
    assert len(encodings) == len(QUESTIONS)
    assert len(matrices) <= 2, "of projected and of encoder similarities, shared by both questions"


def test_what_was_computed_stays_when_captures_are_added(tiny_vlm, passes):
    encodings = Encodings(8, 1e9)
    first = asked(encodings, tiny_vlm, "what is it?", {"saliency"}, shade=202)
    gram = first.tokens.similarities("projected")
    assert first.tokens.keys is None
    more = asked(encodings, tiny_vlm, "what is it?", {"keys", "project"}, shade=202)
    assert more.tokens.similarities("projected") is gram
    assert more.tokens.keys is not None
    assert more.tokens.project is not None
    assert more.tokens.relevance is first.tokens.relevance
    assert asked(encodings, tiny_vlm, "what is it?", {"saliency"}, shade=202) is more
    alone = tiny_vlm.encode(tiny_vlm.encode_media(frames(202), needs=frozenset({"keys"})), "what is it?", {"keys"})
    assert torch.equal(more.tokens.keys, alone.tokens.keys)


def test_a_selection_on_fresh_tokens_shares_nothing(tiny_vlm):
    encoding = asked(Encodings(8, 1e9), tiny_vlm, "what is it?", {"saliency"}, shade=203)
    gram = encoding.tokens.similarities("projected")
    fresh = replace(encoding.tokens, shared=False)
    assert fresh.similarities("projected") is not gram
    assert fresh.space("projected") is not encoding.tokens.space("projected")


def test_the_bound_counts_what_is_really_held(tiny_vlm):
    encodings = Encodings(8, 1e9)
    encoding = asked(encodings, tiny_vlm, "what is it?", {"saliency"}, shade=204)
    n, (width, encoder) = len(encoding.tokens), (encoding.tokens.embeddings.shape[1], encoding.tokens.features.shape[1])
    before = encodings.nbytes
    assert before == encoding.media.nbytes
    encoding.tokens.similarities("projected")
    unit_and_matrix = 4 * n * (width + n) + 8 * n  # the first of equal tokens, an int64 each
    assert encodings.nbytes == before + unit_and_matrix
    encoding.tokens.gram("encoder")
    assert encodings.nbytes == before + unit_and_matrix + 4 * n * (encoder + n) + 8 * n
    asked(encodings, tiny_vlm, "and where?", {"saliency"}, shade=204)
    assert encodings.nbytes == encoding.media.nbytes, "the picture is counted once"


@pytest.mark.parametrize(("size", "nbytes"), [(1, 1e9), (8, 1)], ids=["too many", "too large"])
def test_the_least_recently_used_is_forgotten_and_the_last_is_held(tiny_vlm, size, nbytes):
    encodings = Encodings(size, nbytes)
    asked(encodings, tiny_vlm, "what is it?", {"saliency"}, shade=205)
    last = asked(encodings, tiny_vlm, "and where?", {"saliency"}, shade=205)
    assert [held.encoding for held in encodings._held.values()] == [last]


def test_a_question_that_cannot_be_encoded_leaves_nothing(tiny_vlm):
    encodings = Encodings(8, 1e9)
    with pytest.raises(InvalidInput):
        asked(encodings, tiny_vlm, "", {"saliency"}, shade=206)
    assert len(encodings) == 0
