"""The registry: the model families that can be loaded, and the checkpoints of each that are offered by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Registered:
    """One family. loads: its class in transformers. module, name: where ours is, and how it is called.

    tower: the model_type of the vision tower that its checkpoints have. clip_frames: how many frames of a clip it reads
    unless asked for another number; 0: it reads pictures only. options: settings of its own, beside those of every
    family. original: the model_type of checkpoints in its authors' own format.
    """

    loads: str
    module: str
    name: str
    tower: str = "clip_vision_model"
    clip_frames: int = 0
    options: tuple[str, ...] = ()
    original: str = ""


# by model_type; LLaVA-Video has that of LLaVA-OneVision and is told apart where it is loaded
FAMILIES = {
    "llava": Registered("LlavaForConditionalGeneration", "fsr.vlm.llava", "Llava", options=("positions",)),
    "llava_next": Registered("LlavaNextForConditionalGeneration", "fsr.vlm.llava_next", "LlavaNext", options=("mode",)),
    "llava_onevision": Registered(
        "LlavaOnevisionForConditionalGeneration",
        "fsr.vlm.llava_onevision",
        "LlavaOnevision",
        "siglip_vision_model",
        clip_frames=32,
        options=("positions",),
    ),
    "llava_video": Registered(
        "LlavaOnevisionForConditionalGeneration",
        "fsr.vlm.llava_video",
        "LlavaVideo",
        "siglip_vision_model",
        clip_frames=32,
        options=("positions",),
        original="llava_qwen",
    ),
    "qwen2_5_vl": Registered(
        "Qwen2_5_VLForConditionalGeneration", "fsr.vlm.qwen2_5_vl", "Qwen25VL", "qwen2_5_vl", clip_frames=16
    ),
    "qwen3_vl": Registered(
        "Qwen3VLForConditionalGeneration", "fsr.vlm.qwen3_vl", "Qwen3VL", "qwen3_vl_vision", clip_frames=16
    ),
    "qwen3_5": Registered(
        "Qwen3_5ForConditionalGeneration", "fsr.vlm.qwen3_5", "Qwen35", "qwen3_5_vision", clip_frames=16
    ),
    "smolvlm": Registered(
        "SmolVLMForConditionalGeneration",
        "fsr.vlm.smolvlm",
        "SmolVLM",
        "smolvlm_vision",
        clip_frames=8,
        options=("positions",),
    ),
    "gemma3": Registered(
        "Gemma3ForConditionalGeneration", "fsr.vlm.gemma3", "Gemma3", "siglip_vision_model", options=("positions",)
    ),
    "internvl": Registered(
        "InternVLForConditionalGeneration",
        "fsr.vlm.internvl",
        "InternVL",
        "internvl_vision",
        clip_frames=8,
        options=("positions",),
    ),
}


@dataclass(frozen=True)
class Listed:
    """A checkpoint on the hub. parameters: in thousand millions; licence: of the weights, as its authors state it.

    on_cpu_s: how long an answer of twenty tokens about a picture of `on_cpu_pixels` takes, with all visual tokens and
    with a ninth, in seconds, on two cores of a CPU: measured at real size with random weights (docs/measurements.md);
    None where it was not.
    """

    title: str
    parameters: float
    licence: str
    family: str = "llava"
    on_cpu_s: tuple[int, int] | None = None
    on_cpu_pixels: tuple[int, int] = (384, 384)

    @property
    def gigabytes(self) -> float:
        """What the weights take in half precision."""
        return round(2 * self.parameters, 1)

    @property
    def registered(self) -> Registered:
        return FAMILIES[self.family]


LLAMA2, APACHE, QWEN = "Llama 2 Community License", "Apache-2.0", "Qwen Research License"
GEMMA = "Gemma Terms of Use, to be accepted on the hub"
CATALOGUE: dict[str, Listed] = {
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": Listed(
        "SmolVLM2 256M", 0.256, APACHE, family="smolvlm", on_cpu_s=(31, 29), on_cpu_pixels=(1280, 960)
    ),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": Listed("SmolVLM2 500M", 0.507, APACHE, family="smolvlm"),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": Listed("SmolVLM2 2.2B", 2.247, APACHE, family="smolvlm"),
    "llava-hf/llava-1.5-7b-hf": Listed("LLaVA-1.5 7B", 7.06, LLAMA2),
    "llava-hf/llava-1.5-13b-hf": Listed("LLaVA-1.5 13B", 13.35, LLAMA2),
    "llava-hf/llava-v1.6-vicuna-7b-hf": Listed("LLaVA-NeXT 7B (Vicuna)", 7.06, LLAMA2, family="llava_next"),
    "llava-hf/llava-v1.6-mistral-7b-hf": Listed("LLaVA-NeXT 7B (Mistral)", 7.57, APACHE, family="llava_next"),
    "llava-hf/llava-v1.6-vicuna-13b-hf": Listed("LLaVA-NeXT 13B (Vicuna)", 13.35, LLAMA2, family="llava_next"),
    "Qwen/Qwen2.5-VL-3B-Instruct": Listed("Qwen2.5-VL 3B", 3.75, QWEN, family="qwen2_5_vl"),
    "Qwen/Qwen2.5-VL-7B-Instruct": Listed("Qwen2.5-VL 7B", 8.29, APACHE, family="qwen2_5_vl"),
    "Qwen/Qwen3-VL-2B-Instruct": Listed("Qwen3-VL 2B", 2.13, APACHE, family="qwen3_vl"),
    "Qwen/Qwen3-VL-4B-Instruct": Listed("Qwen3-VL 4B", 4.44, APACHE, family="qwen3_vl"),
    "Qwen/Qwen3-VL-8B-Instruct": Listed("Qwen3-VL 8B", 8.77, APACHE, family="qwen3_vl"),
    "Qwen/Qwen3.5-0.8B": Listed("Qwen3.5 0.8B", 0.85, APACHE, family="qwen3_5"),
    "OpenGVLab/InternVL3_5-1B-HF": Listed("InternVL3.5 1B", 1.061, APACHE, family="internvl"),
    "OpenGVLab/InternVL3_5-2B-HF": Listed("InternVL3.5 2B", 2.348, APACHE, family="internvl"),
    "OpenGVLab/InternVL3_5-8B-HF": Listed("InternVL3.5 8B", 8.528, APACHE, family="internvl"),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": Listed(
        "LLaVA-OneVision 0.5B", 0.89, APACHE, family="llava_onevision", on_cpu_s=(26, 17)
    ),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": Listed("LLaVA-OneVision 7B", 8.03, APACHE, family="llava_onevision"),
    "lmms-lab/LLaVA-Video-7B-Qwen2": Listed("LLaVA-Video 7B", 8.03, APACHE, family="llava_video"),
    "google/gemma-3-4b-it": Listed("Gemma 3 4B", 4.3, GEMMA, family="gemma3"),
    "google/gemma-3-12b-it": Listed("Gemma 3 12B", 12.187, GEMMA, family="gemma3"),
}


def uses(tower: str) -> dict[str, str]:
    """What saliency and relevance are made of with this kind of vision tower, in short; `VLM.pathways` has it in full.

    tower: the model_type of its configuration, for example clip_vision_model.
    """
    if tower == "clip_vision_model":
        return {"saliency": "attention from [CLS]", "relevance": "CLIP"}
    if tower == "internvl_vision":
        return {"saliency": "attention from [CLS]", "relevance": "none"}
    return {"saliency": "attention received", "relevance": "none"}
