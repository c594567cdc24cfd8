"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019, Table 1) without squeeze-excite, for mobile CPUs."""

from __future__ import annotations

from arch.encoders.inverted import Row

STEM = 32
LITE0 = (
    Row(1, 16, 1, 1), Row(6, 24, 2, 2), Row(6, 40, 2, 2, 5), Row(6, 80, 3, 2), Row(6, 112, 3, 1, 5),
    Row(6, 192, 4, 2, 5), Row(6, 320, 1, 1),
)  # fmt: skip
