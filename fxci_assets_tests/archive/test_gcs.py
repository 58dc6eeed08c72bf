"""What GCS and the network do to an archive, and what becomes of it.

That it is an archive like the local one is in `test_store`.
"""

from __future__ import annotations

import base64
import json
import logging
import types
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fxci_assets.archive import gcs
from fxci_assets.archive.gcs import GcsError, GcsStore
from fxci_assets.resources.google_credentials import CredentialsError
from fxci_assets_tests.gcs import BUCKET, Emulator, Fault, Refusal

BUSY = Refusal(503, "Backend Error")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses between the attempts at a request."""

    async def no_sleep(seconds: float) -> None:
        pass

    monkeypatch.setattr("gcsfs.retry.asyncio", types.SimpleNamespace(sleep=no_sleep))


@pytest.fixture
def store(gcs_emulator: Emulator, impatient: None) -> Iterator[GcsStore]:
    location = gcs_emulator.location()
    bucket, prefix = location.removeprefix("gs://").split("/")
    yield GcsStore(bucket, prefix, endpoint=gcs_emulator.endpoint, request_seconds=0.2)
    assert not gcs_emulator.faults
    assert set(gcs_emulator.authorizations) == {None}


def test_to_make_a_store_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    store = GcsStore("bucket", "/some/where/", credentials="secret")
    assert store.uri("a/b") == "gs://bucket/some/where/a/b"
    assert GcsStore("bucket").uri("a") == "gs://bucket/a"
    assert repr(store) == "GcsStore('gs://bucket/some/where/')"


@pytest.mark.parametrize("fault", [BUSY, Refusal(429, "slow down"), "silence", "lost answer"])
def test_what_failed_in_passing_is_asked_again(
    store: GcsStore, gcs_emulator: Emulator, fault: Fault
) -> None:
    gcs_emulator.faults.extend([fault, fault])
    store.replace("x", b"content")
    gcs_emulator.faults.extend([fault, fault])
    assert store.read("x") == b"content"
    gcs_emulator.faults.append(fault)
    assert store.files("") == ["x"]
    gcs_emulator.faults.append(fault)
    store.remove("x")
    assert store.files("") == []


def test_a_file_whose_creation_was_not_answered_was_created_all_the_same(
    store: GcsStore, gcs_emulator: Emulator
) -> None:
    gcs_emulator.faults.append("lost answer")
    store.create("x", b"first")
    gcs_emulator.faults.append("lost answer")
    with pytest.raises(FileExistsError, match=store.uri("x")):
        store.create("x", b"first")


def test_what_arrives_damaged_is_refused_and_changes_nothing(
    store: GcsStore, gcs_emulator: Emulator
) -> None:
    store.replace("x", b"first")
    for write, name in ((store.replace, "x"), (store.create, "y")):
        gcs_emulator.faults.append("damaged upload")
        with pytest.raises(GcsError, match=r"Provided MD5 hash .* doesn't match"):
            write(name, b"second")
    assert (store.files(""), store.read("x")) == (["x"], b"first")


def test_a_long_folder_is_listed_page_by_page(
    store: GcsStore, gcs_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_emulator, "page_size", 7)
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        store.create(f"folder/{name}", b"")
        store.create(f"folder/{name}.d/x", b"")
    assert store.files("folder") == names
    assert store.folders("folder") == [f"{name}.d" for name in names]


def test_a_folder_that_was_made_by_hand_is_no_file(store: GcsStore) -> None:
    store.create("folder/", b"")
    assert (store.files("folder"), store.folders("")) == ([], ["folder"])


@pytest.mark.parametrize(
    ("method", "arguments", "permissions"),
    [
        ("create", ("x", b""), "storage.objects.create"),
        ("replace", ("x", b""), "storage.objects.create and storage.objects.delete"),
        ("read", ("x",), "storage.objects.get"),
        ("files", ("",), "storage.objects.list"),
        ("folders", ("",), "storage.objects.list"),
        ("remove", ("x",), "storage.objects.delete"),
    ],
)
def test_a_permission_that_is_missing_is_named(
    store: GcsStore,
    gcs_emulator: Emulator,
    method: str,
    arguments: tuple[object, ...],
    permissions: str,
) -> None:
    gcs_emulator.faults.append(Refusal(403, "etl@example.com does not\nhave access"))
    with pytest.raises(GcsError) as raised:
        getattr(store, method)(*arguments)
    text = str(raised.value)
    assert text.startswith(f"{store.uri('')}: Forbidden: ")
    assert f"; give these credentials {permissions} on the bucket {BUCKET} (" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (503, "Backend Error", r"Backend Error, 503"),
        (401, "Invalid Credentials", r"renew the credentials \(FXCI_ETL_STORAGE_CREDENTIALS\)"),
        (400, "Unknown Error", "Unknown Error, 400"),
        (400, "invalid argument", "invalid argument"),
    ],
)
def test_other_refusals_are_one_line_and_are_not_logged_beside(
    store: GcsStore,
    gcs_emulator: Emulator,
    caplog: pytest.LogCaptureFixture,
    status: int,
    text: str,
    said: str,
) -> None:
    caplog.set_level(logging.WARNING)
    gcs_emulator.faults.extend([Refusal(status, text)] * (1 if status == 400 else 6))
    with pytest.raises(GcsError, match=f"^{store.uri('')}: [^\n]*{said}[^\n]*$"):
        store.files("")
    assert caplog.text == ""


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_one_line() -> None:
    store = GcsStore(BUCKET, endpoint="http://127.0.0.1:1")
    with pytest.raises(GcsError, match=r"^gs://fxci-archive/: Cannot connect to host 127.*$"):
        store.read("x")


def test_a_bucket_that_is_not_there_is_no_empty_archive(gcs_emulator: Emulator) -> None:
    store = GcsStore("nowhere", endpoint=gcs_emulator.endpoint)
    for call in (
        lambda: store.files("pulse_events"),
        lambda: store.create("x", b""),
        lambda: store.replace("x", b""),
    ):
        with pytest.raises(
            GcsError, match=r"there is no bucket nowhere \(FXCI_ETL_STORAGE_BUCKET\)"
        ):
            call()


def key(token_uri: str) -> str:
    """A service account's, in base64 as it is set."""
    private = rsa.generate_private_key(65_537, 2_048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    content = {
        "type": "service_account",
        "client_email": "etl@example.com",
        "private_key": private.decode(),
        "token_uri": token_uri,
    }
    return base64.encodebytes(json.dumps(content).encode()).decode()


@pytest.fixture
def google(gcs_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator in Google's place, so that it is sent credentials."""
    monkeypatch.setattr(gcs, "_GOOGLE", gcs_emulator.endpoint)
    gcs_emulator.authorizations.clear()
    yield gcs_emulator
    gcs_emulator.authorizations.clear()


def test_a_service_account_is_used(google: Emulator) -> None:
    store = GcsStore(BUCKET, "sa", credentials=key(f"{google.endpoint}/token"))
    store.replace("x", b"content")
    assert store.read("x") == b"content"
    assert google.authorizations == [None, "Bearer t0k3n", "Bearer t0k3n"]
    assert "PRIVATE" not in repr(store)


def test_an_emulator_is_sent_no_credentials(
    gcs_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator.endpoint.removeprefix("http://"))
    gcs_emulator.authorizations.clear()
    GcsStore(BUCKET, credentials=key(f"{gcs_emulator.endpoint}/token")).files("")
    assert gcs_emulator.authorizations == [None]


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("s3cret!", "is not base64"),
        (base64.b64encode(b"s3cret").decode(), "is base64, but not of a service account's key"),
        (base64.b64encode(b'{"private_key": "s3cret"}').decode(), "is base64, but not of a"),
    ],
)
def test_credentials_that_are_none_are_not_quoted(
    google: Emulator, credentials: str, said: str
) -> None:
    with pytest.raises(CredentialsError, match=f"FXCI_ETL_STORAGE_CREDENTIALS {said}") as raised:
        GcsStore(BUCKET, credentials=credentials).files("")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_any_credentials_it_is_said_what_to_set(
    google: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(
        CredentialsError, match=r"nowhere\.json.*; set FXCI_ETL_STORAGE_CREDENTIALS, or default"
    ):
        GcsStore(BUCKET).files("")
