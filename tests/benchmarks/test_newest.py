"""Requirements that `benchmarks.newest` installs without their limits."""

from __future__ import annotations

import pytest

from arch.errors import InputError
from benchmarks import newest
from quantize import litert_quantizer


def test_every_dependency_is_listed_under_its_present_name() -> None:
    found = newest.requirements()
    assert found["torch"].startswith("~=") and found["numpy"].startswith(">=")
    assert "ai-edge-quantizer" not in found and "litert-quantizer" in found
    names = {old.replace("-", "_"): new.replace("-", "_") for old, new in newest.RENAMED.items()}
    assert [names.get(package, package) for package in litert_quantizer.PACKAGES] == ["litert_quantizer"] * 2
    more = newest.requirements(["executorch", "test"])
    assert more.keys() > found.keys() and "executorch" in more and "turbojpeg" in more


def test_unknown_extra() -> None:
    with pytest.raises(InputError, match="extras: 'cuda' is not one of coreml"):
        newest.requirements(["cuda"])
