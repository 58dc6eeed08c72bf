"""Credentials for Google's APIs, and that what is wrong with them is told without them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from google.oauth2 import service_account

from fxci_assets.resources.google_credentials import CredentialsError, credentials

SETTING = "FXCI_ETL_STORAGE_CREDENTIALS"
NO_BASE64 = "is not base64 (of a service account's key in JSON)"
NO_KEY = "is base64, but not of a service account's key in JSON"


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_a_setting_is_the_base64_of_a_key_be_it_in_lines(key: dict[str, str]) -> None:
    lines = base64.encodebytes(json.dumps(key).encode()).decode()
    assert "\n" in lines.strip()
    for text in (encoded(key), lines):
        found = credentials(text, SETTING)
        assert isinstance(found, service_account.Credentials)
        assert found.service_account_email == "etl@project.iam.gserviceaccount.com"
        assert found.scopes == ("https://www.googleapis.com/auth/cloud-platform",)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"private_key": "s3cret"}', NO_BASE64),
        ("s3cret-with-ümlaut", NO_BASE64),
        (encoded("s3cret"), NO_KEY),
        (encoded(["s3cret"]), NO_KEY),
        (base64.b64encode(b"{s3cret").decode(), NO_KEY),
        (base64.b64encode(b"\xffs3cret").decode(), NO_KEY),
        (encoded({"type": "authorized_user", "refresh_token": "s3cret"}), NO_KEY),
    ],
)
def test_anything_else_is_refused_and_not_shown(text: str, wrong: str) -> None:
    with pytest.raises(CredentialsError) as error:
        credentials(text, SETTING)
    assert str(error.value) == f"{SETTING} {wrong}"
    assert error.value.__suppress_context__


def test_a_damaged_key_is_refused_and_not_shown(key: dict[str, str]) -> None:
    damaged = key | {"private_key": "-----BEGIN PRIVATE KEY-----\ns3cret"}
    with pytest.raises(CredentialsError) as error:
        credentials(encoded(damaged), SETTING)
    assert str(error.value) == f"{SETTING} {NO_KEY}"


def test_without_a_setting_they_are_the_environments(
    key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    found = credentials(None, SETTING)
    assert isinstance(found, service_account.Credentials)
    assert found.service_account_email == "etl@project.iam.gserviceaccount.com"


def test_of_none_at_all_it_is_told_where_they_could_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(CredentialsError) as error:
        credentials(None, SETTING)
    assert str(error.value).endswith(f"; set {SETTING}, or default credentials in the environment")
    assert "\n" not in str(error.value)
