"""secret: whose values are shown and whose are not."""

from __future__ import annotations

import pytest

from balancer.model.secret import is_secret, masked


@pytest.mark.parametrize(
    "name", ["Authorization", "cookie", "X-Api-Key", "access_token", "client_secret", "password", "X-Amz-Signature"]
)
def test_what_lets_somebody_in_is_a_secret(name: str) -> None:
    assert is_secret(name)
    assert masked(name, "s3cr3t") == "***"


@pytest.mark.parametrize("name", ["x-beta", "Accept", "page", "version"])
def test_the_rest_is_none(name: str) -> None:
    assert masked(name, "1") == "1"


def test_that_there_must_be_one_is_no_secret() -> None:
    assert masked("authorization", "*") == "*"
