"""Of all tests: files run side by side, so that each is the other's busy neighbour; no figure of theirs is kept."""

import os

os.environ.setdefault("EDGEPOSE_NEIGHBOURS", "1")
