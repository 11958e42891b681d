"""schemathesis: what the OpenAPI document allows is answered as the document says, and what it forbids is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from crosshead.server.app import create_app
from server_parts import MODEL, Live, live

CHECKS = [
    missing_required_header,
    unsupported_method,
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def lines(_: schemathesis.SerializationContext, value: object) -> bytes:
    """Send what is generated for a feed as it is."""
    return str(value).encode("utf-8", "surrogatepass")


schema = schemathesis.openapi.from_dict(create_app(lambda: MODEL).openapi())
# A text above its limit may make a body above the limit of bodies.
schema.config.checks.negative_data_rejection.expected_statuses = ["400", "408", "413", "415", "422"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    file: Path = tmp_path_factory.mktemp("corrections") / "annotations.csv"
    with live(corrections=file) as server:
        yield server


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_to_its_document(case: schemathesis.Case, server: Live) -> None:
    # Any text is a table in CSV, or lines of a feed: what is wrong with it is told in the answer.
    refused = [negative_data_rejection] if case.media_type == "application/json" else []
    case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=CHECKS + refused)
