"""The state of a study: its storage, identity, cache and records."""
