"""Credentials for Google's APIs: from a setting, or from the environment.

Here belongs how a setting becomes credentials, and that nothing of it is ever shown. What they are
used for is each resource's own.
"""

from __future__ import annotations

import base64
import json

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

from fxci_assets.texts import one_line

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


class CredentialsError(Exception):
    """There are no credentials, or they are not what they should be. One line, without them."""


def credentials(encoded: str | None, setting: str) -> Credentials:
    """The credentials in a setting, the base64 of a service account's key in JSON; of None, the
    environment's default credentials. `setting` is its name, for the person who sets it."""
    return _default(setting) if encoded is None else _service_account(encoded, setting)


def _service_account(encoded: str, setting: str) -> Credentials:
    # What is caught here quotes the key, so that it is not even kept as the cause.
    try:
        text = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        raise CredentialsError(
            f"{setting} is not base64 (of a service account's key in JSON)"
        ) from None
    try:
        account: Credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            dict(json.loads(text)), scopes=_SCOPES
        )
    except (ValueError, TypeError):
        raise CredentialsError(
            f"{setting} is base64, but not of a service account's key in JSON"
        ) from None
    return account


def _default(setting: str) -> Credentials:
    try:
        found, _ = google.auth.default(scopes=_SCOPES)
    except GoogleAuthError as error:
        # Its cause, among the other arguments, may quote what it could not read.
        said = one_line(error.args[0] if error.args else error)
        raise CredentialsError(
            f"{said}; set {setting}, or default credentials in the environment"
        ) from None
    return found
