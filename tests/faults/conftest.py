from __future__ import annotations

import pytest

from tests.faults.bench import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A tiny project that has run undisturbed."""
    return Bench.build(tmp_path_factory.mktemp("bench"))
