"""MobileNetV3-Large (Howard et al. 2019, Table 1), and a variant with the early strides of MobileHumanPose's Table 2.

All blocks use the activation of the Arch, not that of the published table. The layers after the last 160-channel block
are omitted, because they belong to the classifier.
"""

from __future__ import annotations

from arch.encoders.inverted import Row

STEM = 16
LARGE = (
    Row(1, 16, 1, 1),
    Row((4, 3), 24, 2, 2),
    Row(3, 40, 3, 2, 5, True),
    Row((6, 2.5, 2.3, 2.3), 80, 4, 2),
    Row(6, 112, 2, 1, 3, True),
    Row(6, 160, 3, 2, 5, True),
)

# Stem of stride 1 and first block of stride 2: reproduces the paper's Table 2.
LATE_STRIDE = (LARGE[0]._replace(s=2), *LARGE[1:])
