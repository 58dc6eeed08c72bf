"""Fixtures for more than one outside system's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from fxci_assets_tests.bigquery import Place, place
from fxci_assets_tests.bigquery_server import BigQueryServer


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[BigQueryServer]:
    server = BigQueryServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def bigquery(bigquery_server: BigQueryServer) -> Iterator[Place]:
    """A dataset of the test's own, on the tests' server unless the environment names another."""
    with place(bigquery_server) as found:
        yield found


@pytest.fixture
def server(bigquery: Place) -> BigQueryServer:
    """The server of the dataset, for tests that look into it or let it go wrong."""
    if bigquery.server is None:
        pytest.skip("only the tests' own server tells what it was asked, and fails on request")
    return bigquery.server


@pytest.fixture(scope="session")
def key() -> dict[str, str]:
    """A service account's key, of no account."""
    certificate = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.RSA)
    return {
        "type": "service_account",
        "client_email": "etl@project.iam.gserviceaccount.com",
        "private_key": certificate.private_key_pem.bytes().decode(),
        "private_key_id": "0123456789abcdef",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
