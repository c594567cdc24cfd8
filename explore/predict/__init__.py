"""People in photos, videos and before a camera, by bundles: their own pre- and post-processing, no torch."""

from pathlib import Path

BUNDLED = Path(__file__).parent / "real-224"  # trained on renders and pseudo-labelled photos; the default of `predict`
