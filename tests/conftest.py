"""Fixtures that tests share: where the recorded streams are, and what to do where they are not."""

import os
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


def _folder(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        message = f"recorded streams are not here: {folder} is absent"
        if os.environ.get("CI"):
            pytest.fail(message + ", and CI must have them")
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def binance_tapes() -> Path:
    """Folder of real Binance streams with their own best bid and ask."""
    return _folder("binance")


@pytest.fixture(scope="session")
def messages() -> Path:
    """Folder of single messages per venue and channel."""
    return _folder("messages")


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of raw captures of many venues."""
    return _folder("captures")
