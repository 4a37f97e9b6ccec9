"""What holds for every family alike: methods, traces, and relevance measured in the language model."""

from __future__ import annotations

import pytest
import torch

import fsr.vlm
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.pruners.frames import with_share
from fsr.pruners.inside import InsideSelection
from fsr.trace import Trace, build_trace
from fsr.vlm.inside import DECODERS
from tests.looping import each
from tests.tiny_families import QUESTION, answer, noise, save_next, save_onevision, save_qwen
from tests.tiny_today import EACH, ROWS

MAKERS = {"next": save_next, "onevision": save_onevision, "qwen": save_qwen}
MAKERS |= {family: row.save for family, row in ROWS.items()}


@pytest.fixture(scope="module", params=["next", "onevision", "qwen", *EACH])
def folder(request, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp("families") / request.param)


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


@pytest.fixture(scope="module")
def picture():
    return noise(160, 100)


@each("method", REGISTRY)
def test_every_method_answers_or_says_what_is_missing(vlm, picture, method):
    pruner = make(method)
    media = vlm.encode_media([picture], needs=pruner.requires)
    tokens = vlm.encode(media, QUESTION, pruner.requires).tokens
    if pruner.across_frames:
        with pytest.raises(InvalidInput, match="a picture has none"):
            pruner(tokens, len(tokens) // 2)
        return
    if any(getattr(tokens, name) is None for name in pruner.requires - pruner.optional):
        with pytest.raises(InvalidInput, match="was not captured"):
            pruner(tokens, len(tokens) // 2)
        return
    selection = pruner(tokens, len(tokens) // 2)
    encoding = vlm.encode(media, QUESTION, pruner.requires)
    if isinstance(selection, InsideSelection) and vlm.model.config.get_text_config().model_type not in DECODERS:
        with pytest.raises(FsrError, match="choose one that prunes before it"):
            answer(vlm, encoding, selection, 2)
        return
    assert answer(vlm, encoding, selection, 2)


def test_a_trace_goes_round(vlm, picture):
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    plans = {name: (make(name), make(name).plan(encoding.tokens)) for name in ("fsr", "grid")}
    trace = build_trace(vlm, encoding, plans)
    again = Trace.from_json(trace.to_json())
    assert again.to_dict() == Trace.from_json(again.to_json()).to_dict()
    assert len(again.frames) == len(encoding.tokens.layout.grids)
    assert again.tokens["n"] == len(encoding.tokens)


def test_relevance_by_embedding_is_a_choice(folder, vlm, picture):
    assert vlm.encode(vlm.encode_media([picture]), QUESTION).tokens.relevance is None
    chosen = fsr.vlm.load(str(folder), relevance="llm_embedding")
    tokens = chosen.encode(chosen.encode_media([picture]), QUESTION).tokens
    table = chosen.model.get_input_embeddings().weight
    asked = torch.stack([table[i] for i in chosen.tokenizer(QUESTION, add_special_tokens=False)["input_ids"]]).mean(0)
    expected = torch.nn.functional.cosine_similarity(tokens.embeddings, asked[None])
    assert torch.allclose(tokens.relevance, expected, atol=1e-5)
    assert tokens.relevance_sign == 1
    assert chosen.provides == {"saliency", "relevance"}
    with pytest.raises(InvalidInput, match="clip, llm_embedding"):
        fsr.vlm.load(str(folder), relevance="guess")


def test_a_budget_can_be_shared_by_tiles(vlm, picture):
    media = vlm.encode_media([picture])
    tokens = vlm.encode(media, QUESTION).tokens
    tile = getattr(media, "tile", media.layout.frame)
    selection = with_share(make("fsr"), "per_group", tile)(tokens, 10)
    assert answer(vlm, vlm.encode(media, QUESTION), selection, 3)
    assert set(tile[selection.kept].tolist()) == set(tile.tolist())
