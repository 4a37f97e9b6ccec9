"""The formulas against torch's own flop counter and a real cache object."""

from __future__ import annotations

import json
import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from fsr.tokens import computed_bytes
from fsr.vlm.cost import Cost, DecoderShape, decode_flops, kv_cache_bytes, media_bytes, prefill_flops, timed
from fsr.vlm.decode import cache_argument, cache_bytes
from tests.looping import each

SHAPES = {
    "one head for each": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "grouped queries": {"num_attention_heads": 8, "num_key_value_heads": 2},
    "heads wider than the model": {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 24},
}


def decoder(name: str) -> LlamaForCausalLM:
    config = LlamaConfig(vocab_size=101, hidden_size=64, intermediate_size=112, num_hidden_layers=3, **SHAPES[name])
    # the counter knows matrix products, not the CPU's fused attention
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


def counted(model, **inputs) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(use_cache=True, logits_to_keep=1, **inputs)
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def hybrid():
    """Three layers of Gated DeltaNet and one of gated attention."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24}
    linear = {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 8, "value_head_dim": 12}
    sizes = {"vocab_size": 101, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 4, **heads}
    config = Qwen3_5TextConfig(**sizes, **{f"linear_{name}": value for name, value in linear.items()})
    return Qwen3_5ForCausalLM._from_config(config, attn_implementation="eager").eval()


def test_linear_attention_costs_the_same_at_every_length_and_keeps_a_state(hybrid):
    """The counter knows products of matrices and convolutions: in decoding all but the three passes over the state."""
    shape, cache = DecoderShape.of(hybrid.config), DynamicCache(config=hybrid.config)
    assert shape.linear == {0, 1, 2}
    hybrid(input_ids=torch.ones(1, 40, dtype=torch.long), **{cache_argument(hybrid): cache}, use_cache=True)
    assert kv_cache_bytes(shape, 40, 4) == cache_bytes(cache) > 0
    total = counted(hybrid, input_ids=torch.ones(1, 1, dtype=torch.long), **{cache_argument(hybrid): cache})
    states = 2 * 3 * (3 * 4 * 8 * 12)  # multiply-adds count two: three layers, three passes
    twice = 2 * 3 * (80 * 4)  # transformers convolves the position before once more
    assert decode_flops(shape, 40, 2) == pytest.approx(total + states - twice, rel=0.002)
    longer = [decode_flops(shape, length, 2) for length in (40, 140)]
    assert longer[1] - longer[0] == 100 * 2 * 2 * 4 * 24, "one layer of four"


@each("name", SHAPES)
@each("length", [1, 17, 200])
def test_prefill_equals_the_counter(name, length):
    """Rotary angles are one small product that the formula leaves out: at most half a percent here."""
    model = decoder(name)
    estimated = prefill_flops(DecoderShape.of(model.config), length)
    assert estimated == pytest.approx(counted(model, input_ids=torch.ones(1, length, dtype=torch.long)), rel=0.005)


@each("name", SHAPES)
def test_decode_equals_the_counter(name):
    model, length, new = decoder(name), 40, 6
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.ones(1, length, dtype=torch.long), **{cache_argument(model): cache}, use_cache=True)
    total = sum(
        counted(model, input_ids=torch.ones(1, 1, dtype=torch.long), **{cache_argument(model): cache})
        for _ in range(new - 1)
    )
    assert decode_flops(DecoderShape.of(model.config), length, new) == pytest.approx(total, rel=0.005)


def test_one_new_token_needs_no_decode():
    shape = DecoderShape.of(decoder("grouped queries").config)
    assert decode_flops(shape, 40, 1) == decode_flops(shape, 40, 0) == 0


def test_an_answers_flops_are_those_of_the_model_it_ran(tiny_folder, tiny_vlm, picture):
    encoding = tiny_vlm.encode(tiny_vlm.encode_media([picture]), "what?")
    cost = list(tiny_vlm.generate(encoding, None, 1))[-1].cost
    eager = LlavaForConditionalGeneration.from_pretrained(tiny_folder, attn_implementation="eager").eval()
    embeds = tiny_vlm.language_inputs(encoding, None)["inputs_embeds"]
    assert cost.flops_estimated == pytest.approx(counted(eager, inputs_embeds=embeds), rel=0.005)


@each("name", SHAPES)
def test_the_cache_formula_equals_the_cache_object(name):
    model = decoder(name)
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.ones(1, 33, dtype=torch.long), **{cache_argument(model): cache}, use_cache=True)
    assert kv_cache_bytes(DecoderShape.of(model.config), 33, 4) == cache_bytes(cache) > 0
    assert cache_bytes(DynamicCache(config=model.config)) == 0


def test_llava_1_5_numbers_are_the_published_order():
    """576 visual tokens in half precision: 288 MiB of keys and values in a 7B Llama (Table 7 of the paper)."""
    shape = DecoderShape.of(LlamaConfig(vocab_size=32064))
    assert shape == DecoderShape(32, 4096, 32, 32, 128, 11008, 32064)
    assert kv_cache_bytes(shape, 576, 2) == 288 * 2**20
    assert kv_cache_bytes(shape, 64, 2) == 32 * 2**20
    assert prefill_flops(shape, 640) == pytest.approx(8.6e12, rel=0.05)


def test_the_papers_operations_follow_from_causal_counting():
    """Table 7: 9.042 -> 2.291 T. The length of its prompts is not stated; 112 positions besides the picture fit."""
    shape = DecoderShape.of(LlamaConfig(vocab_size=32064))
    causal = [prefill_flops(shape, n + 112, causal=True) / 1e12 for n in (576, 64)]
    full = [prefill_flops(shape, n + 112) / 1e12 for n in (576, 64)]
    assert causal == pytest.approx([9.036, 2.288], abs=5e-4)
    assert causal == pytest.approx([9.042, 2.291], rel=2e-3)
    assert causal[0] - causal[1] == pytest.approx(9.042 - 2.291, abs=0.005)
    assert full[0] - full[1] == pytest.approx(6.863, abs=5e-4)


@each("length", [1, 2, 57])
def test_causal_counting_leaves_out_what_the_mask_hides(length):
    shape = DecoderShape.of(decoder("grouped queries").config)
    pairs = torch.ones(length, length).triu(1).sum().item()
    a_pair = 2 * 2 * shape.layers * shape.heads * shape.head_dim  # a multiply-add for the score, one for the value
    assert prefill_flops(shape, length) - prefill_flops(shape, length, causal=True) == pairs * a_pair


def test_media_memory_is_what_is_held(tiny_vlm, picture):
    media = tiny_vlm.encode(tiny_vlm.encode_media([picture]), "what?").media
    captured = sum(x.numel() * x.element_size() for x in media.captures.values() if x is not None)
    assert media_bytes(25, (48, 32, 24, 1), 4) == media.nbytes - captured - computed_bytes(media.computed)


def test_timed_returns_the_result_and_its_milliseconds():
    result, ms = timed(lambda: time.sleep(0.02) or "x")
    assert result == "x"
    assert ms >= 20


def test_costs_become_plain_numbers():
    cost = Cost(64, 12.34567, 0.5, 30.0, 30.5, None, 1, 1024, None, 10**12)
    record = cost.to_json()
    assert json.loads(json.dumps(record)) == record
    assert record["encode_ms"] == 12.346
    assert record["decode_ms_per_token"] is None


class Older(torch.nn.Module):
    """The signature of a model of transformers 5.23 and before."""

    def forward(self, input_ids=None, past_key_values=None, use_cache=None): ...


class Newer(torch.nn.Module):
    """That of 5.24 and later."""

    def forward(self, input_ids=None, cache=None, use_cache=None): ...


@each(("model", "name"), [(Older(), "past_key_values"), (Newer(), "cache")])
def test_the_cache_goes_by_the_name_that_the_model_knows(model, name):
    assert cache_argument(model) == name


def test_the_installed_transformers_takes_the_cache_without_a_warning(recwarn):
    model = decoder("grouped queries")
    cache = DynamicCache(config=model.config)
    model(input_ids=torch.ones(1, 4, dtype=torch.long), **{cache_argument(model): cache}, use_cache=True)
    assert cache_bytes(cache) > 0
    assert not [w for w in recwarn if "deprecated" in str(w.message)]
