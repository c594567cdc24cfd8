"""MobileNetV3-Large (Howard et al. 2019, Table 1), and its early strides as MobileHumanPose's Table 2 had them.

The activation is the network's, not the table's; the layers after the last 160-channel block belong to the classifier.
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

# Stem of stride one, first block of stride two; fits both digits of the paper's Table 2.
LATE_STRIDE = (LARGE[0]._replace(s=2), *LARGE[1:])
