"""The checkpoints that the picker and the command line offer by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """A checkpoint on the hub. parameters: in thousand millions; licence: of the weights, as its authors state it."""

    title: str
    parameters: float
    licence: str

    @property
    def gigabytes(self) -> float:
        """What the weights take in half precision."""
        return round(2 * self.parameters, 1)


LLAMA2, APACHE = "Llama 2 Community License", "Apache-2.0"
CATALOGUE: dict[str, Listed] = {
    "llava-hf/llava-1.5-7b-hf": Listed("LLaVA-1.5 7B", 7.06, LLAMA2),
    "llava-hf/llava-1.5-13b-hf": Listed("LLaVA-1.5 13B", 13.35, LLAMA2),
    "llava-hf/llava-v1.6-vicuna-7b-hf": Listed("LLaVA-NeXT 7B (Vicuna)", 7.06, LLAMA2),
    "llava-hf/llava-v1.6-mistral-7b-hf": Listed("LLaVA-NeXT 7B (Mistral)", 7.57, APACHE),
    "llava-hf/llava-v1.6-vicuna-13b-hf": Listed("LLaVA-NeXT 13B (Vicuna)", 13.35, LLAMA2),
    "Qwen/Qwen2.5-VL-3B-Instruct": Listed("Qwen2.5-VL 3B", 3.75, "Qwen Research License"),
    "Qwen/Qwen2.5-VL-7B-Instruct": Listed("Qwen2.5-VL 7B", 8.29, APACHE),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": Listed("LLaVA-OneVision 0.5B", 0.89, APACHE),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": Listed("LLaVA-OneVision 7B", 8.03, APACHE),
    "lmms-lab/LLaVA-Video-7B-Qwen2": Listed("LLaVA-Video 7B", 8.03, APACHE),
}
