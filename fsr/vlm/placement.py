"""Where a model goes and in which numbers: device, dtype, 4 bit, or several devices by accelerate's device_map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from fsr.errors import FsrError, InvalidInput

DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}
FOUR_BIT = "4bit"
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
# what stays in half precision: the vision side, whose attention and features the methods read, and the output
WHOLE = ("model.vision_tower", "model.visual", "model.multi_modal_projector", "lm_head")
DeviceMap = str | Mapping[str, Any]


@dataclass(frozen=True)
class Placement:
    """device: of the whole model, or of its inputs where `device_map` spreads it. dtype: of the computation."""

    device: torch.device
    dtype: torch.dtype
    device_map: DeviceMap | None = None
    four_bit: bool = False

    @property
    def precision(self) -> str:
        """The dtype in words: float16, or 4bit."""
        return FOUR_BIT if self.four_bit else str(self.dtype).removeprefix("torch.")

    def options(self) -> dict[str, Any]:
        """For from_pretrained."""
        if self.four_bit:
            return {"dtype": self.dtype, "device_map": self.map, "quantization_config": four_bit(self.dtype)}
        return {"dtype": self.dtype, **({} if self.map is None else {"device_map": self.map})}

    @property
    def map(self) -> DeviceMap | None:
        """`device_map`; a single GPU is one too where accelerate is there, so that the weights go straight to it."""
        straight = self.device.type == "cuda" and find_spec("accelerate") is not None
        return {"": self.device} if self.device_map is None and straight else self.device_map


def placed(
    config: Any,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: DeviceMap | None = None,
) -> Placement:
    """What was asked for, with the defaults of this machine. device may name a device_map: "auto", "balanced", ...

    Raises InvalidInput for what is not known, FsrError where a package or a GPU is missing.
    """
    if isinstance(device, str) and device in MAPS:
        device, device_map = None, device if device_map is None else device_map
    if device_map is not None:
        _check_map(device, device_map)
    chosen = usable(device)
    if dtype == FOUR_BIT:
        _check_four_bit(chosen)
    return Placement(chosen, _numbers(dtype, chosen, config), device_map, dtype == FOUR_BIT)


def usable(device: str | torch.device | None) -> torch.device:
    """The device, default cuda where there is one. Raises InvalidInput where it cannot be used."""
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInput(f"the device {device!r} cannot be used here; cpu always can.") from error
    return chosen


def four_bit(dtype: torch.dtype) -> Any:
    """The language model's layers in NF4; see `WHOLE`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(WHOLE),  # of 4 bit, too, in spite of its name
    )


def device_of(module: torch.nn.Module) -> torch.device:
    """Where a module computes, also while accelerate keeps its weights elsewhere."""
    hook = getattr(module, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return torch.device(device) if device is not None else next(module.parameters()).device


def _check_map(device: str | torch.device | None, device_map: DeviceMap) -> None:
    if device is not None:
        raise InvalidInput("give a device or a device_map, not both.")
    if isinstance(device_map, str) and device_map not in MAPS:
        raise InvalidInput(f"device_map must be one of {', '.join(MAPS)} or a dict, not {device_map!r}.")
    if find_spec("accelerate") is None:
        raise FsrError("a device_map needs the package accelerate, which is not installed: pip install accelerate.")


def _check_four_bit(device: torch.device) -> None:
    if device.type != "cuda":
        raise FsrError(f"dtype {FOUR_BIT} needs a CUDA GPU; on the {device.type} use bfloat16 or float32.")
    missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise FsrError(f"dtype {FOUR_BIT} needs {names}, not installed here: pip install {' '.join(missing)}.")


def _numbers(dtype: str | torch.dtype | None, device: torch.device, config: Any) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in (None, FOUR_BIT):
        if dtype not in DTYPES:
            raise InvalidInput(f"dtype must be one of {', '.join([*DTYPES, FOUR_BIT])}, not {dtype!r}.")
        return DTYPES[dtype]
    own = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    half = device.type == "cuda" or dtype == FOUR_BIT
    return own if half and isinstance(own, torch.dtype) else torch.bfloat16 if dtype == FOUR_BIT else torch.float32
