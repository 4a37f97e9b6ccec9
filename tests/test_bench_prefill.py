"""`bench prefill` at small size: what is timed, what is counted, what is estimated, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from fsr.bench import architectures, prefill
from fsr.bench.architectures import ARCHITECTURES, SMALL, build, memory, named
from fsr.bench.prefill import StackClock, measure, usual
from fsr.cli.bench.prefill import table
from fsr.cli.main import main
from fsr.errors import FsrError
from fsr.vlm.catalogue import CATALOGUE
from fsr.vlm.cost import kv_cache_bytes
from fsr.vlm.memory import weight_bytes

CPU = torch.device("cpu")
CHECKPOINTS = {
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-next-7b": "llava-hf/llava-v1.6-vicuna-7b-hf",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "llava-onevision-0.5b": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "llava-video-7b": "lmms-lab/LLaVA-Video-7B-Qwen2",
    "qwen3-vl-2b": "Qwen/Qwen3-VL-2B-Instruct",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
    "qwen3.5-0.8b": "Qwen/Qwen3.5-0.8B",
    "internvl3.5-1b": "OpenGVLab/InternVL3_5-1B-HF",
    "internvl3.5-2b": "OpenGVLab/InternVL3_5-2B-HF",
    "internvl3.5-8b": "OpenGVLab/InternVL3_5-8B-HF",
    "smolvlm2-256m": "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
    "smolvlm2-500m": "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
    "smolvlm2-2.2b": "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
    "gemma-3-4b": "google/gemma-3-4b-it",
    "gemma-3-12b": "google/gemma-3-12b-it",
}
AS_ANOTHER = (
    "qwen2.5-vl-7b",
    "qwen3-vl-4b",
    "qwen3-vl-8b",
    "smolvlm2-500m",
    "smolvlm2-2.2b",
    "gemma-3-12b",
    "internvl3.5-2b",
    "internvl3.5-8b",
)  # when small


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name in CHECKPOINTS:
        monkeypatch.setitem(ARCHITECTURES, name, named(name + SMALL))


@pytest.mark.slow
def test_the_real_sizes_are_those_of_the_checkpoints(monkeypatch):
    import transformers

    monkeypatch.undo()
    for name, checkpoint in CHECKPOINTS.items():
        one = named(name)
        config, _ = one.make(one, dict(one.text))
        counted = weight_bytes(getattr(transformers, one.kind), config, torch.bfloat16) / 2
        assert counted / 1e9 == pytest.approx(CATALOGUE[checkpoint].parameters, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if name not in AS_ANOTHER])
def test_every_architecture_runs_through_its_adapter(name, capsys):
    video = name == "llava-video-7b"
    n = named(name).tokens * (2 if video else 1)
    argv = ["bench", "prefill", "--architecture", name, "--random-weights", "--dtype", "float32", "--frames", "2"]
    assert main([*argv, "--budgets", f"{n},{n // 9}", "--repeats", "1", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "built in" in err
    assert result["architecture"] == name
    assert result["visual_tokens"] == n
    assert [row["budget"] for row in result["rows"]] == [n, n // 9]
    assert result["rows"][1]["kv_mb"] < result["rows"][0]["kv_mb"] == result["unpruned"]["kv_mb"]
    relevance = "random CLIP text tower" if name.startswith(("llava-1", "llava-n")) else "none"
    assert relevance in result["pathways"]["relevance"]
    assert "extrapolated" not in result


@pytest.mark.slow
def test_the_whole_path_of_a_machine_without_a_gpu(capsys):
    argv = ["bench", "prefill", "--architecture", "smolvlm2-256m", "--random-weights", "--dtype", "float32", "--whole"]
    assert main([*argv, "--repeats", "1", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    photograph, clip = result["photograph"], result["clip"]
    assert (photograph["pixels"], photograph["visual_tokens"]) == ([1280, 960], 13 * 64)
    assert (clip["frames"], clip["visual_tokens"]) == (8, 8 * 64)
    assert result["visual_tokens"] == photograph["visual_tokens"]
    assert [row["budget"] for row in result["rows"]] == [416, 208, 92]
    assert min(result["load_s"], photograph["encode_ms"], clip["encode_ms"]) > 0
    peaks = [result["load_memory_mb"], *(part["memory_mb"] for part in (photograph, clip, result["unpruned"]))]
    assert all(peak is None or peak > 100 for peak in peaks)
    lines = table(result).splitlines()
    assert lines[3].startswith("photograph, 1280 x 960: 832 visual tokens, encoded in ")
    assert lines[4].startswith("clip, 8 frames of 640 x 360: 512 visual tokens")


@pytest.fixture(scope="module")
def result(tiny_vlm):
    return measure(tiny_vlm, [prefill.noise(160, 100, 1)], None, [25, 3], repeats=2, full_layers=6)


def test_ratios_are_of_the_times_shown(result):
    full = result["unpruned"]["prefill_ms"]
    for row in result["rows"]:
        taken = row["select_ms"] + row["prefill_ms"]
        assert row["vs_ideal"] == pytest.approx(taken / row["ideal_prefill_ms"], rel=0.02)
        assert row["speedup"] == pytest.approx(full / taken, rel=0.02)
        assert row["vs_ideal_range"][0] <= row["vs_ideal_range"][1]
        assert row["encode_ms"] >= row["vision_ms"] > 0
        assert row["question_ms"] > 0
        assert min(row["select_ms"], row["decode_ms_per_token"], row["memory_mb"]) > 0


def test_prompts_and_caches_are_those_of_the_budget(result, tiny_vlm):
    text = result["text_tokens"]
    for row, k in zip(result["rows"], (25, 3), strict=True):
        assert row["prompt_tokens"] == text + k
        assert row["kv_mb"] == pytest.approx(kv_cache_bytes(tiny_vlm.shape, text + k, 4) / 1e6, abs=0.01)
    assert result["rows"][1]["kv_share"] == pytest.approx((text + 3) / (text + 25), abs=1e-4)


def test_focus_leaves_something_to_scan(result):
    assert result["method"]["focus_cap"] == pytest.approx(1 / 3)
    assert [row["n_focus"] for row in result["rows"]] == [9, 1]


def test_what_was_not_built_is_labelled_and_grows_with_the_layers_only(result):
    deeper = result["extrapolated"]
    assert (result["layers"], result["full_layers"], deeper["to_layers"]) == (3, 6, 6)
    assert "times 6/3" in deeper["how"]
    for row, built in zip([deeper["unpruned"], *deeper["rows"]], [result["unpruned"], *result["rows"]], strict=True):
        assert built["prefill_ms"] < row["prefill_ms"] <= 2 * built["prefill_ms"]
        assert row["kv_mb"] == pytest.approx(2 * built["kv_mb"], abs=0.02)
    assert [row["select_ms"] for row in deeper["rows"]] == [row["select_ms"] for row in result["rows"]]


def test_the_ideal_reads_as_many_positions_and_never_sees_the_picture(tiny_vlm, monkeypatch):
    seen = []
    greedy = type(tiny_vlm.decoder).greedy

    def watched(self, embeds, n, *args, **inputs):
        seen.append((embeds.shape[1], n))
        return greedy(self, embeds, n, *args, **inputs)

    monkeypatch.setattr(type(tiny_vlm.decoder), "greedy", watched)
    result = measure(tiny_vlm, [prefill.noise(160, 100, 1)], None, [5], repeats=2, new_tokens=2)
    length, full = result["rows"][0]["prompt_tokens"], result["unpruned"]["prompt_tokens"]
    asked = [one for one in seen if one != (32, 2)]  # the warm-up
    assert asked == [(full, 2), (length, 2), (length, 1), (full, 2), (length, 1), (length, 2)]


def test_short_prompts_run_more_often(tiny_vlm, monkeypatch):
    monkeypatch.setattr(prefill, "SHORT", 0.8)
    result = measure(tiny_vlm, [prefill.noise(160, 100, 1)], None, [25, 3], repeats=2)
    assert [row["runs"] for row in result["rows"]] == [2, 4]
    assert result["unpruned"]["runs"] == 2


def test_the_clock_counts_every_pass_and_leaves_no_hook(tiny_vlm):
    clock = StackClock(tiny_vlm)
    embeds = torch.zeros(1, 9, tiny_vlm.shape.width)
    with clock.running():
        *_, progress = tiny_vlm.decoder.greedy(embeds, 3)
    assert len(clock.ms) == progress.new_tokens
    assert 0 < clock.ms[0] < progress.prefill_ms
    assert not clock.layers[0]._forward_pre_hooks
    assert not clock.layers[-1]._forward_hooks


def test_weights_are_of_the_dtype_and_keep_sizes():
    vlm = build("llava-1.5-7b", torch.bfloat16, CPU, layers=1)
    assert {p.dtype for p in vlm.model.parameters()} == {torch.bfloat16}
    assert vlm.shape.layers == 1
    norms = [p for name, p in vlm.model.named_parameters() if name.endswith("layernorm.weight")]
    assert norms
    assert all(bool((p == 1).all()) for p in norms)
    weight = vlm.model.model.language_model.layers[0].mlp.down_proj.weight.detach().float()
    assert float(weight.std()) == pytest.approx(weight.shape[1] ** -0.5, rel=0.05)
    assert not torch.equal(weight[0], weight[1])
    again = build("llava-1.5-7b", torch.bfloat16, CPU, layers=1)
    pairs = zip(vlm.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_tied_weights_stay_one():
    vlm = build("qwen2.5-vl-3b", torch.float32, CPU)
    assert vlm.model.lm_head.weight is vlm.model.get_input_embeddings().weight


def test_what_does_not_fit_is_said_before_anything_is_built(monkeypatch):
    one = named("llava-1.5-7b")
    config, _ = one.make(one, dict(one.text))
    needed, a_layer = memory("llava-1.5-7b", config, torch.float32)
    monkeypatch.setattr(architectures, "empty", lambda *_: pytest.fail("nothing may be built"))
    monkeypatch.setattr(architectures, "free_bytes", lambda _: needed - a_layer - 1)
    with pytest.raises(FsrError, match=r"with 4 layers needs about 1\.\d GB in float32, cpu has .* give --layers 2, w"):
        build("llava-1.5-7b", torch.float32, CPU)
    monkeypatch.setattr(architectures, "free_bytes", lambda _: 1000)
    with pytest.raises(FsrError, match="even one layer does not fit"):
        build("llava-1.5-7b", torch.float32, CPU)


def test_a_layer_is_as_large_as_it_is_counted():
    one = named("llava-1.5-7b")
    sizes = [
        memory("llava-1.5-7b", one.make(one, {**one.text, "num_hidden_layers": n})[0], torch.float32) for n in (1, 2)
    ]
    assert sizes[1][0] - sizes[0][0] == pytest.approx(sizes[0][1], rel=0.01)


def test_the_usual_budgets_are_those_of_the_paper():
    assert usual(576) == [576, 192, 128, 64]
    assert usual(2) == [2, 1]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--architecture", "gpt-2", "--random-weights"], "llava-1.5-7b, llava-next-7b, qwen2.5-vl-3b, qwen2.5-vl-7b"),
        ([], "give --random-weights"),
        (["--random-weights", "--budgets", "577"], "from 1 to 576 visual tokens, not 577"),
        (["--random-weights", "--budgets", "many"], "whole numbers with commas"),
        (["--random-weights", "--layers", "5"], "from 1 to 4 for llava-1.5-7b, not 5"),
        (["--random-weights", "--dtype", "int4"], "--dtype must be one of float32"),
        (["--random-weights", "--repeats", "0"], "at least 1"),
        (["--random-weights", "--architecture", "llava-video-7b", "--frames", "65"], "frames must be from 1 to 64"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(argv, said, capsys):
    assert main(["bench", "prefill", *argv]) == 2
    assert said in capsys.readouterr().err


def test_for_people_it_is_a_table(capsys, tmp_path):
    file = tmp_path / "bench.json"
    argv = ["--random-weights", "--dtype", "float32", "--layers", "2", "--budgets", "64", "--repeats", "1"]
    assert main(["bench", "prefill", *argv, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "2 of 4 layers" in out
    assert "ESTIMATED for 4 layers" in out
    assert json.loads(file.read_text())["rows"][0]["budget"] == 64
