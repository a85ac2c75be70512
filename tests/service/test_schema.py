"""The API against its own schema: whatever is asked, it answers as it says it would."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from tests.service.conftest import running

FEW = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)

LEFT_OUT = [ignored_auth, positive_data_acceptance]
"""The first guesses more often than anybody may, the second takes any text for a network."""


@pytest.mark.slow
def test_answers_are_as_the_schema_says(served):
    # Who only reads launches nothing, whatever is made up.
    headers = {"Authorization": f"Bearer {served.token('schema', 'reader')}"}
    with running(served.farm) as url:  # which nobody else has asked without a token
        schema = schemathesis.openapi.from_url(f"{url}/v1/openapi.json", headers=headers)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= 10
        for operation in operations:

            @FEW
            @given(case=operation.as_strategy())
            def hold(case):
                if case.path == "/v1/events" and case.query.get("wait", True) in (
                    True,
                    "true",
                ):
                    case.query = {**case.query, "wait": False}  # it would never end
                case.call_and_validate(headers=headers, excluded_checks=LEFT_OUT)

            hold()
