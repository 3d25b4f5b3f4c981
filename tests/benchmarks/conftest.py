"""An untrained network of the default bundle's size, exported once."""

import pytest

from benchmarks.updates import Variant


@pytest.fixture(scope="session")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    return Variant("slim", tmp_path_factory.mktemp("slim"))
