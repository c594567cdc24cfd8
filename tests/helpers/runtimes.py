"""Runtimes as parameters of tests; those whose library is an extra and missing are skipped."""

from __future__ import annotations

import pytest

from quantize.runtimes import RUNTIMES, executorch

needs_executorch = pytest.mark.skipif(not executorch.is_installed(), reason=executorch.NOT_INSTALLED)
ALL = [pytest.param(name, marks=[needs_executorch] if name == "executorch" else []) for name in RUNTIMES]
every_runtime = pytest.mark.parametrize("runtime", ALL)
