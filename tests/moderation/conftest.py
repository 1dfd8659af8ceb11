"""The classifier as it is installed, and the server as it is started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moderation.classifier import Classifier, load
from moderation.settings import ModerationSettings
from tests.moderation import server


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return load(ModerationSettings())


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with small bounds, so that the tests can pass them."""
    bounds = {"MAX_BODY_BYTES": "100000", "MAX_INPUTS": "40", "MAX_CHARS": "50000"}
    with server.running(tmp_path_factory.mktemp("moderation"), **bounds) as url:
        yield url
