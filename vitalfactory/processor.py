"""What the processor of this machine is, and what it computes fast."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware() -> str:
    """Name the processor and its cores, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def computes_bfloat16() -> bool:
    """Tell whether the processor has instructions for bfloat16; without them it takes some thirty times longer."""
    import torch

    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
