"""Qwen3.5: the grids of Qwen3-VL without DeepStack, and a language model most of whose layers cannot look back.

Three layers of four are Gated DeltaNet (Yang et al., ICLR 2025): they carry one state of fixed size from position to
position, after a convolution over the last few. A hidden position would still let that state decay and would stand
within the convolution, so hiding a token is not leaving it out: what this model is compared with are prompts put
together by hand. Padding in front of a prompt meets a state that is still empty and leaves it so; batches that are
padded on the left are therefore as good as single runs.
"""

from __future__ import annotations

from typing import ClassVar

from fsr.vlm.qwen3_vl import Qwen3Grids


class Qwen35(Qwen3Grids):
    """A Qwen3_5ForConditionalGeneration checkpoint. It is asked for its answer without thinking aloud first."""

    hidden_is_left_out: ClassVar[bool] = False
    template_settings: ClassVar[dict[str, bool]] = {"enable_thinking": False}
