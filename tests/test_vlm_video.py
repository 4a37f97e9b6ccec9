"""LLaVA-Video: the authors' own files through the table of names, frames averaged, newlines for rows, times told."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import avg_pool2d

import fsr.vlm
from fsr.errors import FsrError
from fsr.pruners import make
from fsr.vlm import original_weights
from fsr.vlm.llava_video import LlavaVideo, time_instruction
from tests.proofs import proves
from tests.tiny_families import (
    PATCH,
    QUESTION,
    TILE,
    TILE_CELLS,
    TILE_PINPOINTS,
    answer,
    covered,
    greedy,
    newline_rows,
    noise,
    onevision_parts,
)

TIMES = (0.0, 2.5, 5.0)
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": TILE,
    "patch_size": PATCH,
}
ORIGINAL = {  # how the authors name what transformers names otherwise
    "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
    "model.language_model.": "model.",
}
TEXT = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
]


def original_name(name):
    for ours, theirs in ORIGINAL.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


@pytest.fixture(scope="module")
def parts():
    return onevision_parts()


@pytest.fixture(scope="module")
def model(parts):
    return parts[0].eval()


@pytest.fixture(scope="module", autouse=True)
def tower():
    """A tower of this size is not among those that real checkpoints name."""
    original_weights.TOWERS["tiny/siglip"] = TOWER
    yield
    del original_weights.TOWERS["tiny/siglip"]


@pytest.fixture(scope="module")
def folder(parts, tmp_path_factory):
    """The same random model in the authors' format."""
    model, processor = parts
    folder = tmp_path_factory.mktemp("original") / "tiny"
    processor.tokenizer.save_pretrained(folder)
    weights = {original_name(name): value.clone() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = model.config.text_config.to_dict()
    facts = {
        "model_type": "llava_qwen",
        "architectures": ["LlavaQwenForCausalLM"],
        "mm_vision_tower": "tiny/siglip",
        "mm_projector_type": "mlp2x_gelu",
        "mm_newline_position": "grid",
        "image_aspect_ratio": "anyres_max_4",
        "image_grid_pinpoints": TILE_PINPOINTS,
        "rope_theta": text["rope_parameters"]["rope_theta"],
        "max_position_embeddings": 2048,
        "eos_token_id": 3,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps({**facts, **{name: text[name] for name in TEXT}}))
    return folder


@pytest.fixture(scope="module")
def vlm(folder):
    return fsr.vlm.load(str(folder))


def frames(third=2):
    return [noise(200, 130, seed) for seed in (0, 1, third)]


@pytest.fixture(scope="module")
def encoding(vlm):
    return vlm.encode(vlm.encode_media(frames(), times=TIMES), QUESTION)


@pytest.fixture(scope="module")
def by_hand(vlm, model):
    """(3, 3, 3, D): every frame through tower and projector, averaged 2 x 2; and the attention received, likewise."""
    pixels = vlm.processor.video_processor(videos=[frames()], return_tensors="pt")["pixel_values_videos"][0]
    model.model.vision_tower.config._attn_implementation = "eager"
    with torch.no_grad():
        out = model.model.vision_tower(pixels, output_hidden_states=True, output_attentions=True)
        projected = model.model.multi_modal_projector(out.hidden_states[-1])
    model.model.vision_tower.config._attn_implementation = "sdpa"

    def pooled(x):
        return avg_pool2d(x.view(3, TILE_CELLS, TILE_CELLS, -1).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    return pooled(projected), pooled(out.attentions[-1].mean(dim=(1, 2))[..., None])[..., 0]


def read(model, ids, mark, visual):
    """The prompt with `visual` in the place of all visual tokens."""
    places = (ids == mark).nonzero().flatten()
    table = model.get_input_embeddings().weight.detach()
    return torch.cat([table[ids[: places[0]]], visual, table[ids[places[-1] + 1 :]]])[None]


def test_the_authors_files_load_to_the_same_weights(vlm, model):
    assert isinstance(vlm, LlavaVideo)
    mine, theirs = dict(vlm.model.named_parameters()), dict(model.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert vlm.model.config.text_config.rope_parameters == model.config.text_config.rope_parameters


def test_nothing_is_written_beside_the_authors_files(folder, vlm):
    assert not [f.name for f in folder.iterdir() if f.suffix == ".safetensors" and f.name != "model.safetensors"]


@proves("clips", family="llava_video")
def test_a_frame_is_averaged_and_its_rows_are_closed(encoding, by_hand, vlm, model):
    tokens, pooled = encoding.tokens, by_hand[0]
    assert [(g.rows, g.cols) for g in tokens.layout.grids] == [(3, 3)] * 3
    assert torch.allclose(tokens.embeddings, pooled.flatten(0, 2), atol=1e-5)
    mark = vlm.model.config.video_token_id
    assert int((encoding.prompt == mark).sum()) == 3 * 3 * 4  # as 13 x 14 = 182 a frame in the real model
    newline = model.model.image_newline
    ours = tokens.embeddings.view_as(pooled)  # those by hand, but for their last bits, which the layers would multiply
    rows = [torch.cat([row, newline[None]]) for frame in ours for row in frame]
    embeds = read(model, encoding.prompt, mark, torch.cat(rows).detach())
    with torch.no_grad():
        expected = model(inputs_embeds=embeds).logits[0]
    assert (vlm.logits(encoding) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding) == greedy(model, {"inputs_embeds": embeds})


@proves("kept", "positions", family="llava_video")
@pytest.mark.parametrize("budget", [1, 8, 20])
def test_pruned_frames_equal_those_built_by_hand(encoding, vlm, model, budget):
    selection = make("fsr")(encoding.tokens, budget)
    sequence = newline_rows(selection, 9, 3, model.model.image_newline.detach())
    embeds = read(model, encoding.prompt, vlm.model.config.video_token_id, sequence)
    with torch.no_grad():
        expected = model(inputs_embeds=embeds).logits[0]
    assert (vlm.logits(encoding, selection) - expected).abs().max() <= 1e-5
    assert answer(vlm, encoding, selection) == greedy(model, {"inputs_embeds": embeds})


@proves("saliency", family="llava_video")
def test_saliency_is_attention_received_averaged_alike(encoding, by_hand):
    assert torch.allclose(encoding.tokens.saliency, by_hand[1].flatten(), atol=1e-6)


@proves("places", family="llava_video")
def test_a_painted_patch_changes_its_token_most(vlm, monkeypatch):
    embedding = vlm.model.model.vision_tower.embeddings.patch_embedding

    def conv(pixels, wanted=frozenset()):
        with torch.no_grad():
            out = embedding(pixels).flatten(2).transpose(1, 2).flatten(0, 1)
        return {"embeddings": out, "features": out, "saliency": out[:, 0]}

    monkeypatch.setattr(vlm, "_read", conv)
    for size in ((200, 200), (300, 100), (100, 300)):
        pictures = [noise(*size, seed) for seed in range(2)]
        plain = vlm._encode_frames(pictures, "", (0.0, 1.0))
        for i in range(18):
            frame = int(plain.layout.frame[i])
            box = covered(plain.layout.grids[frame], plain.layout.rect[i])
            assert box is not None
            painted = [one.copy() for one in pictures]
            painted[frame].paste((255, 0, 255), box)
            change = (vlm._encode_frames(painted, "", (0.0, 1.0)).embeddings - plain.embeddings).norm(dim=-1)
            assert int(change.argmax()) == i


def test_the_model_is_told_the_times(vlm, encoding):
    text = vlm.tokenizer.decode(encoding.prompt)
    told = "The video lasts for 5.00 seconds, and 3 frames are uniformly sampled from it."
    assert f"{told} These frames are located at 0.00s,2.50s,5.00s.Please answer" in text
    assert text.index("<video>") < text.index(told) < text.index(QUESTION)
    assert "The video lasts" not in vlm.tokenizer.decode(vlm.encode(vlm.encode_media(frames()[:1]), QUESTION).prompt)
    assert time_instruction((0.0,)).startswith("The video lasts for 0.00 seconds, and 1 frames")


@proves("pictures", family="llava_video")
def test_pictures_are_read_as_onevision_reads_them(vlm, model):
    picture = noise(390, 130)
    media = vlm.encode_media([picture])
    inputs = vlm.processor.image_processor(images=[picture], return_tensors="pt")
    with torch.no_grad():
        expected = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output[0]
    assert torch.allclose(media.embeddings, expected[media.place], atol=1e-5)


def test_missing_weights_and_unknown_towers_are_named(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    del weights["model.mm_projector.0.weight"]
    config = json.loads((folder / "config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FsrError, match=r"lacks weights, for example .*linear_1"):
        fsr.vlm.load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**config, "mm_vision_tower": "someone/else"}))
    with pytest.raises(FsrError, match="someone/else is not known"):
        fsr.vlm.load(str(tmp_path))


def test_the_real_configuration_has_182_tokens_a_frame():
    """LLaVA-Video's own numbers: 27 x 27 patches, averaged to 13 x 13, and 13 newlines."""
    from fsr.vlm.anyres import Tiles, base_part

    side, patch = (original_weights.TOWERS["google/siglip-so400m-patch14-384"][k] for k in ("image_size", "patch_size"))
    part = LlavaVideo._pooled_part(None, base_part((1280, 720), Tiles(side, patch)))
    rows = LlavaVideo._video_rows(None, [part])
    assert part.shape == (13, 13)
    assert sum(n + closed for n, closed in rows) == 182
