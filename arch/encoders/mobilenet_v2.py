"""MobileNetV2 (Sandler et al. 2018, Table 2) and the variant with other early channels (MobileHumanPose, Section 3)."""

from __future__ import annotations

from arch.encoders.inverted import Row

STEM = 32
ORIGINAL = (
    Row(1, 16, 1, 1), Row(6, 24, 2, 2), Row(6, 32, 3, 2), Row(6, 64, 4, 2), Row(6, 96, 3, 1), Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)  # fmt: skip

# Wider first blocks; with a stem of stride 1, the first feature map has the full resolution.
MODIFIED_STEM = 48
MODIFIED = (
    Row(1, 64, 1, 1), Row(6, 48, 2, 2), Row(6, 48, 3, 2), Row(6, 64, 4, 2), Row(6, 96, 3, 2), Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)  # fmt: skip
