"""What tests of training share."""

import pytest

from foldtune.train import precision


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the processor had it: one without imitates it, slow, and right."""
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
