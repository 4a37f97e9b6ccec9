"""Methods that prune inside the language model, against transformers' own layers run one by one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, MistralConfig, Qwen2Config
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

import fsr.vlm
from fsr.check.device import hooks_of
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.pruners.inside import InsideSelection
from fsr.vlm.cost import layered_decode_flops, layered_prefill_flops, prefill_flops
from fsr.vlm.inside import InsidePruning
from tests.inside_references import LAYERS, Slow, masked
from tests.methods import random_tokens
from tests.proofs import proves
from tests.test_vlm_llava import last, other
from tests.tiny import enlivened, save_tiny
from tests.tiny_families import noise, save_next, save_onevision, save_qwen
from tests.tiny_today import ROWS, families

INSIDE = ["fastv", "pyramiddrop", "sparsevlm", "dart"]
MASKED = ["fastv", "pyramiddrop", "dart"]  # those that only leave out
OTHERS = {"next": save_next, "qwen": save_qwen, "onevision": save_onevision}
OTHERS |= {family: row.save for family, row in ROWS.items() if row.inside}
FAMILIES = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config}
QUESTION = "Which shape is left of the black ring?"
BUDGETS = [10, 21]
N = 25


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints with seven layers and two heads to a key head, one of every kind of decoder."""
    root = tmp_path_factory.mktemp("deep")
    return {name: save_tiny(root / name, text_kind=kind, layers=LAYERS) for name, kind in FAMILIES.items()}


def opened(folder, **settings):
    vlm = fsr.vlm.load(str(folder), **settings)
    vlm.decoder.eos = frozenset()
    return vlm


@pytest.fixture(scope="module")
def vlms(folders):
    return {name: opened(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def vlm(vlms):
    return vlms["llama"]


@pytest.fixture(scope="module")
def eager(folders):
    vlm = opened(folders["llama"])
    vlm.model.set_attn_implementation("eager")
    return vlm


@pytest.fixture(scope="module")
def half(folders):
    return opened(folders["llama"], dtype="bfloat16")


@pytest.fixture(scope="module")
def encoding(vlm, picture):
    return vlm.encode(vlm.encode_media([picture]), QUESTION)


def run(vlm, encoding, method, budget, tokens=8):
    selection = make(method)(encoding.tokens, budget)
    return selection, last(vlm.generate(encoding, selection, tokens))


# -- nothing pruned, nothing changed


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", INSIDE)
def test_all_tokens_give_the_unpruned_answer(vlms, picture, family, method):
    vlm = vlms[family]
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    selection = make(method)(encoding.tokens, N)
    assert (vlm.logits(encoding, selection) - vlm.logits(encoding)).abs().max() <= 1e-5
    selection, step = run(vlm, encoding, method, N, 10)
    assert step.token_ids == last(vlm.generate(encoding, None, 10)).token_ids
    assert step.cost.visual_tokens == N
    assert selection.kept.tolist() == list(range(N))
    assert selection.counts == [N] * LAYERS


# -- equal to masks, with cache and without


@proves("inside", family="llava")
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("method", MASKED)
def test_pruned_answers_equal_a_masked_run(vlm, encoding, method, budget):
    """24 tokens with the cache, against a run from the start without one for every token."""
    selection, step = run(vlm, encoding, method, budget, 24)
    renumbered = method == "pyramiddrop"
    with torch.no_grad():
        prompt = masked(vlm, encoding, selection.depth, renumbered)
        ids = [int(prompt[-1].argmax())]
        scores = [prompt[-1]]
        while len(ids) < 24:
            scores.append(masked(vlm, encoding, selection.depth, renumbered, ids)[-1])
            ids.append(int(scores[-1].argmax()))
    assert step.token_ids == ids
    assert len(set(ids)) > 3
    again = make(method)(encoding.tokens, budget)
    alive = torch.ones(len(encoding.prompt), dtype=torch.bool)
    alive[encoding.visual[selection.depth < LAYERS]] = False
    assert (vlm.logits(encoding, again) - prompt[alive]).abs().max() <= 1e-4
    assert (vlm.forced(encoding, again, ids) - torch.stack(scores)).abs().max() <= 1e-4


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
@pytest.mark.parametrize("method", ["fastv", "pyramiddrop"])
def test_other_decoders_equal_a_masked_run(vlms, picture, family, method):
    vlm = vlms[family]
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    selection, step = run(vlm, encoding, method, 13, 6)
    ids = []
    with torch.no_grad():
        while len(ids) < 6:
            ids.append(int(masked(vlm, encoding, selection.depth, method == "pyramiddrop", ids)[-1].argmax()))
    assert step.token_ids == ids


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("method", INSIDE)
def test_every_rule_equals_loops_over_eager_attention(folders, vlm, picture, method, frames):
    encoding = vlm.encode(vlm.encode_media([picture, other(120)][:frames]), QUESTION)
    slow = Slow(folders["llama"], encoding, vlm)
    for budget in (11 * frames, 20 * frames):
        selection = make(method)(encoding.tokens, budget)
        logits = vlm.logits(encoding, selection)
        expected, depth = slow.read(method, dict(selection.pruner.schedule(N * frames, LAYERS, budget)))
        assert selection.depth.tolist() == depth
        assert logits.shape == expected.shape
        assert (logits - expected).abs().max() <= 1e-4


def test_recycled_tokens_stay_in_the_cache(vlm, encoding):
    """SparseVLM token by token, against the prompt and the answer read in one go each."""
    selection, step = run(vlm, encoding, "sparsevlm", 13, 22)
    assert selection.facts["recycled"] >= 3
    forced = vlm.forced(encoding, make("sparsevlm")(encoding.tokens, 13), step.token_ids)
    assert forced.argmax(dim=1).tolist() == step.token_ids
    lengths = [len(encoding.prompt) - N + count for count in selection.counts]
    shape = vlm.shape
    assert step.cost.kv_bytes == sum(2 * shape.kv_heads * shape.head_dim * 4 * length for length in lengths)


@pytest.mark.parametrize("method", ["fastv", "pyramiddrop", "sparsevlm"])
def test_coordinates_of_mrope_stay_with_their_tokens(method):
    """Three coordinates a token: positions are gathered, not renumbered."""
    torch.manual_seed(2)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 2, 2]}
    config = Qwen2_5_VLTextConfig(
        vocab_size=50,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters=rope,
        use_sliding_window=False,
    )
    model = enlivened(Qwen2_5_VLTextModel(config))
    visual = torch.arange(3, 15)
    positions = torch.arange(22).expand(3, 1, -1).clone()
    positions[:, 0, 3:15] = 3 + torch.stack([torch.zeros(12), torch.arange(12) // 4, torch.arange(12) % 4]).long()
    positions[:, 0, 15:] = 7 + torch.arange(7)
    embeds = torch.randn(1, 22, 48)
    selection = make(method)(random_tokens(0, 3, 4), 8)
    pruning = InsidePruning(model, selection, visual, 22)
    with torch.no_grad(), pruning.hooks():
        out = model(inputs_embeds=embeds, position_ids=positions, use_cache=False).last_hidden_state[0]
    assert len(out) == 22 - 12 + selection.counts[-1]
    if method == "sparsevlm":
        return
    with torch.no_grad():
        hidden, rotary = embeds, model.rotary_emb(embeds, positions)
        for i, layer in enumerate(model.layers):
            visible = torch.ones(22, dtype=torch.bool)
            visible[visual[selection.depth <= i]] = False
            seen = (visible[None] & torch.ones(22, 22).tril().bool()) | torch.eye(22).bool()
            mask = torch.zeros(22, 22).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        expected = model.norm(hidden)[0, visible]
    assert (out - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("method", INSIDE)
def test_eager_and_sdpa_layers_keep_the_same(vlm, eager, encoding, method):
    one, answer = run(vlm, encoding, method, 13)
    two, again = run(eager, encoding, method, 13)
    assert torch.equal(one.depth, two.depth)
    assert answer.token_ids == again.token_ids


@pytest.mark.parametrize("method", INSIDE)
def test_half_precision_runs(half, picture, method):
    encoding = half.encode(half.encode_media([picture]), QUESTION)
    selection, step = run(half, encoding, method, 13, 3)
    assert step.cost.visual_tokens == 13
    assert selection.scores.dtype == torch.float32
    assert selection.scores.shape == (N,)


@proves("inside")
@pytest.mark.parametrize("family", families(OTHERS))
@pytest.mark.slow
def test_other_families_answer(tmp_path, family):
    vlm = opened(OTHERS[family](tmp_path / family))
    encoding = vlm.encode(vlm.encode_media([noise(160, 100)]), QUESTION)
    n, full = len(encoding.tokens), vlm.logits(encoding)
    for method in INSIDE:
        assert (vlm.logits(encoding, make(method)(encoding.tokens, n)) - full).abs().max() <= 1e-5
        selection, step = run(vlm, encoding, method, n // 2, 6)
        assert step.cost.visual_tokens == n // 2
        forced = vlm.forced(encoding, selection, step.token_ids)
        assert forced.argmax(dim=1).tolist() == step.token_ids


# -- one model, many answers


def test_hooks_last_one_forward_pass(vlm, encoding):
    before = hooks_of(vlm.model)
    steps = vlm.generate(encoding, make("sparsevlm")(encoding.tokens, 13), 9)
    next(steps)
    assert hooks_of(vlm.model) == before
    next(steps)
    steps.close()
    assert hooks_of(vlm.model) == before
    vlm.logits(encoding, make("pyramiddrop")(encoding.tokens, 13))
    assert hooks_of(vlm.model) == before


@pytest.mark.parametrize("at", ["layers.4", "layers.4.self_attn.o_proj", "norm"])
def test_hooks_are_removed_when_a_pass_fails(vlm, encoding, at):
    expected = run(vlm, encoding, "fastv", 13)[1].token_ids
    before = hooks_of(vlm.model)
    selection = make("fastv")(encoding.tokens, 13)

    def fail(*_):
        raise RuntimeError("broken")

    handle = vlm.model.model.language_model.get_submodule(at).register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        last(vlm.generate(encoding, selection, 4))
    handle.remove()
    assert hooks_of(vlm.model) == before
    assert selection.depth is None
    assert last(vlm.generate(encoding, selection, 8)).token_ids == expected


def test_answers_do_not_influence_each_other(vlm, encoding):
    expected = {method: run(vlm, encoding, method, 13)[1].token_ids for method in INSIDE}
    full = last(vlm.generate(encoding, None, 8)).token_ids
    assert len({tuple(ids) for ids in (*expected.values(), full)}) == 5
    requests = {method: make(method)(encoding.tokens, 13) for method in INSIDE}
    running = {method: vlm.generate(encoding, request, 8) for method, request in requests.items()}
    running["full"] = vlm.generate(encoding, None, 8)
    steps = list(zip(*running.values(), strict=True))  # a token of each in turn
    assert {m: s.token_ids for m, s in zip(running, steps[-1], strict=True)} == {**expected, "full": full}
    again = {method: last(vlm.generate(encoding, requests[method], 8)).token_ids for method in reversed(INSIDE)}
    assert again == expected


def test_batches_take_every_kind_of_selection(vlm, encoding):
    chosen = [None, make("fastv")(encoding.tokens, 13), make("fsr")(encoding.tokens, 6)]
    chosen += [make("sparsevlm")(encoding.tokens, 13)]
    expected = [last(vlm.generate(encoding, copy.copy(s), 6)).text for s in chosen]
    assert vlm.generate_batch([(encoding, s) for s in chosen], 6) == expected


def test_a_prompt_beyond_a_sliding_window_is_refused(tmp_path, picture):
    class Sliding(MistralConfig):
        def __init__(self, **settings):
            super().__init__(**{**settings, "sliding_window": 110})

    Sliding.__name__ = "MistralConfig"
    vlm = fsr.vlm.load(str(save_tiny(tmp_path / "sliding", text_kind=Sliding)))
    encoding = vlm.encode(vlm.encode_media([picture]), QUESTION)
    room = 110 - len(encoding.prompt)
    assert run(vlm, encoding, "fastv", 13, room)[1].cost.visual_tokens == 13
    with pytest.raises(InvalidInput, match="sliding window of 110"):
        run(vlm, encoding, "fastv", 13, room + 1)


def test_other_decoders_are_refused(vlm, encoding, monkeypatch):
    monkeypatch.setattr(vlm.model.model.language_model.config, "model_type", "phi")
    with pytest.raises(FsrError, match="Qwen2 and Qwen3 decoders, not with phi; choose one"):
        vlm.generate(encoding, make("fastv")(encoding.tokens, 13), 2)


# -- costs and lists


@pytest.mark.slow
@pytest.mark.parametrize("method", INSIDE)
def test_estimated_operations_are_those_that_ran(eager, encoding, method):
    """The rows that a method looks at are left out of the estimate, so torch counts a little more."""
    eager.warm_up()
    totals = []
    for tokens in (1, 9):
        selection = make(method)(encoding.tokens, 13)
        with FlopCounterMode(display=False) as counter:
            cost = last(eager.generate(encoding, selection, tokens)).cost
        totals.append((cost.flops_estimated, counter.get_total_flops()))
        assert cost.flops_estimated <= counter.get_total_flops() <= 1.03 * cost.flops_estimated
    lengths = [len(encoding.prompt) - N + count for count in selection.counts]
    assert totals[0][0] == layered_prefill_flops(eager.shape, lengths)
    assert totals[1][0] - totals[0][0] == layered_decode_flops(eager.shape, lengths, 9)
    assert totals[1][0] - totals[0][0] == pytest.approx(totals[1][1] - totals[0][1], rel=0.005)  # nothing ranked there
    assert totals[0][0] < 0.95 * prefill_flops(eager.shape, len(encoding.prompt))


def test_the_registry_marks_them(encoding):
    assert {name for name, kind in REGISTRY.items() if kind.stage == "inside"} == set(INSIDE)
    for name in INSIDE:
        described = REGISTRY[name].describe()
        assert (described["stage"], described["requires"], described["exact_count"]) == ("inside", [], False)
        assert isinstance(make(name)(encoding.tokens, 12), InsideSelection)
