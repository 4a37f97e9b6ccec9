"""Before anything imports Triton: where there is no GPU, its interpreter runs kernels on the CPU."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
