"""A short look at every target of fuzzing; ``make fuzz FUZZ_SECONDS=3600`` is the long one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz_targets import TARGETS, close


@pytest.fixture(scope="module", autouse=True)
def _close() -> Iterator[None]:
    yield
    close()


# Of an example that fails; it is shown all the same.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_there_is_a_result_or_an_error_that_says_why(name: str) -> None:
    target = TARGETS[name]
    look = settings(max_examples=target.n, deadline=None, suppress_health_check=list(HealthCheck))
    look(given(target.inputs)(target.ask))()
