"""MnasNet-B1 (Tan et al. 2019, Figure 7a), the variant without squeeze-excite."""

from __future__ import annotations

from arch.encoders.inverted import Row

STEM = 32
B1 = (
    Row(1, 16, 1, 1), Row(3, 24, 3, 2), Row(3, 40, 3, 2, 5), Row(6, 80, 3, 2, 5), Row(6, 96, 2, 1),
    Row(6, 192, 4, 2, 5), Row(6, 320, 1, 1),
)  # fmt: skip
