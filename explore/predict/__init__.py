"""People in photos, by a bundle: its own pre- and post-processing, its own runtime, no torch."""
