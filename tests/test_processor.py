"""What the processor can is read from its capabilities."""

import pytest
import torch

from vitalfactory import processor


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "cpu_name": "a processor"}, False),
    ],
)
def test_bfloat16_needs_instructions(able: dict[str, object], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert processor.computes_bfloat16() is expected


def test_hardware_names_the_cores() -> None:
    assert processor.hardware().endswith(" cores")
