"""People in photos, films and before a camera, by bundles: their own pre- and post-processing, no torch."""
