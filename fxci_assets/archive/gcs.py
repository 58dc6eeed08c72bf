"""The archive on Google Cloud Storage, under a prefix of a bucket.

Here belongs what GCS and the network do to us: requests and their preconditions, what is asked
again, credentials, and what a refusal means. What lies in the files does not.

gcsfs holds the session and the credentials, and makes a request again, six times in about half a
minute, after a lost connection, a timeout or one of 408, 429 and 500 to 504. Its file-like methods
are not used. A folder without files, such as that of a day's marks, costs them two requests, and
each file in a listing a kilobyte; what they upload is framed by a fixed boundary, which a message
may contain, and is checked after it is there. Here a listing is one request for names, and an
upload is one request that says its MD5, so that GCS refuses what arrives damaged or cut off. One
request for any size: a batch of messages is at most 16 MB, less when it is compressed.

GCS answers an upload when it is durable, and every read or listing that begins after that shows it
(https://cloud.google.com/storage/docs/consistency). Nothing is cached on the way, because no
object is public.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fxci_assets.settings import variable
from fxci_assets.texts import one_line

if TYPE_CHECKING:
    from gcsfs.core import GCSFileSystem  # type: ignore[import-untyped]

_BUCKET, _CREDENTIALS = variable("storage", "bucket"), variable("storage", "credentials")

_GOOGLE = "https://storage.googleapis.com"
_WRITE = "fxci-write"
"""Metadata of an object that was created: which write it was."""

_OBJECTS, _OBJECT = "b/{}/o", "b/{}/o/{}"
"""Paths in the JSON API; gcsfs puts the names in."""


class GcsError(Exception):
    """The archive's bucket cannot be used. One line, without secrets."""


class GcsStore:
    """Implements `Store`. Connects at the first request, and not before.

    `credentials` is the base64 of a service account's key in JSON; None is the environment's
    default credentials. `endpoint`, or STORAGE_EMULATOR_HOST in the environment, is an emulator,
    which is never sent any. A request fails after `request_seconds` without a byte of an answer.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        credentials: str | None = None,
        endpoint: str | None = None,
        request_seconds: float = 60.0,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._credentials = credentials
        self._endpoint = endpoint
        self._request_seconds = request_seconds

    def __repr__(self) -> str:
        return f"GcsStore({self.uri('')!r})"

    def create(self, path: str, data: bytes) -> None:
        write = uuid.uuid4().hex
        try:
            self._upload(
                path,
                data,
                {"metadata": {_WRITE: write}},
                permissions="storage.objects.create",
                ifGenerationMatch="0",
            )
        except FileExistsError:
            # A request whose answer was lost is made again, and then finds its own object there.
            if self._write_of(path) != write:
                raise FileExistsError(self.uri(path)) from None

    def replace(self, path: str, data: bytes) -> None:
        # To replace an object is to delete the one before it.
        self._upload(
            path, data, {}, permissions="storage.objects.create and storage.objects.delete"
        )

    def read(self, path: str) -> bytes:
        try:
            _, data = self._request(
                "GET", _OBJECT, self._key(path), permissions="storage.objects.get", alt="media"
            )
        except FileNotFoundError:
            # A bucket that is not there is told by listings and writes only.
            raise FileNotFoundError(self.uri(path)) from None
        return bytes(data)

    def files(self, folder: str) -> list[str]:
        return self._entries(folder)[0]

    def folders(self, folder: str) -> list[str]:
        return self._entries(folder)[1]

    def remove(self, path: str) -> None:
        try:
            self._request("DELETE", _OBJECT, self._key(path), permissions="storage.objects.delete")
        except FileNotFoundError:
            return

    def uri(self, path: str) -> str:
        return f"gs://{self._bucket}/{self._key(path)}"

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _upload(
        self,
        path: str,
        data: bytes,
        resource: Mapping[str, object],
        *,
        permissions: str,
        **parameters: str,
    ) -> None:
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        described = {**resource, "md5Hash": base64.b64encode(md5).decode()}
        boundary = uuid.uuid4().hex
        body = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            f"{json.dumps(described)}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        try:
            self._request(
                "POST",
                f"{self._location}/upload/storage/v1/{_OBJECTS}",
                permissions=permissions,
                uploadType="multipart",
                name=self._key(path),
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                data=b"".join((body, data, f"\r\n--{boundary}--\r\n".encode())),
                **parameters,
            )
        except FileNotFoundError:
            raise self._no_bucket() from None

    def _write_of(self, path: str) -> str | None:
        """Which write created an object; None if it is gone."""
        try:
            found = self._request(
                "GET",
                _OBJECT,
                self._key(path),
                permissions="storage.objects.get",
                fields="metadata",
                json_out=True,
            )
        except FileNotFoundError:
            return None
        write: str | None = found.get("metadata", {}).get(_WRITE)
        return write

    def _entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the files and of the folders in a folder."""
        start = self._key(f"{folder}/") if folder else self._prefix
        files: list[str] = []
        folders: list[str] = []
        token: str | None = None
        while True:
            try:
                page = self._request(
                    "GET",
                    _OBJECTS,
                    permissions="storage.objects.list",
                    prefix=start,
                    delimiter="/",
                    fields="items/name,prefixes,nextPageToken",
                    pageToken=token,
                    json_out=True,
                )
            except FileNotFoundError:
                raise self._no_bucket() from None
            # Where somebody made a folder by hand, an object has the folder's name.
            files += [o["name"][len(start) :] for o in page.get("items", ()) if o["name"] != start]
            folders += [name[len(start) : -1] for name in page.get("prefixes", ())]
            token = page.get("nextPageToken")
            if token is None:
                return sorted(files), sorted(folders)

    def _request(
        self,
        method: str,
        path: str,
        *names: str,
        permissions: str,
        **options: object,
    ) -> Any:  # noqa: ANN401  (what GCS answers)
        """What gcsfs answers: the object of a JSON body, else headers and body.

        Raises FileNotFoundError for 404, FileExistsError for a precondition that fails, and
        GcsError for all else.
        """
        # Imported here, because gcsfs takes half a second, which the sandbox need not wait.
        import aiohttp
        from gcsfs.retry import HttpError  # type: ignore[import-untyped]
        from google.auth.exceptions import GoogleAuthError

        filesystem = self._filesystem
        try:
            return filesystem.call(method, path, self._bucket, *names, **options)
        except (FileNotFoundError, FileExistsError):
            raise
        # Of what gcsfs raises, a refusal and some lost connections are OSErrors, and a request
        # that GCS does not understand is a ValueError.
        except (OSError, ValueError, HttpError, aiohttp.ClientError, GoogleAuthError) as error:
            raise GcsError(f"{self.uri('')}: {self._explained(error, permissions)}") from error

    def _explained(self, error: Exception, permissions: str) -> str:
        said = one_line(error) or type(error).__name__
        if said.startswith("Forbidden"):
            return (
                f"{said}; give these credentials {permissions} on the bucket {self._bucket} (all "
                "that the archive needs is in roles/storage.objectUser)"
            )
        if getattr(error, "code", None) in (401, "401"):
            return f"{said}; renew the credentials ({_CREDENTIALS})"
        return said

    def _no_bucket(self) -> GcsError:
        return GcsError(f"{self.uri('')}: there is no bucket {self._bucket} ({_BUCKET})")

    @functools.cached_property
    def _emulator(self) -> str | None:
        endpoint = self._endpoint or os.environ.get("STORAGE_EMULATOR_HOST")
        return endpoint if not endpoint or "://" in endpoint else f"http://{endpoint}"

    @property
    def _location(self) -> str:
        return self._emulator or _GOOGLE

    @functools.cached_property
    def _filesystem(self) -> GCSFileSystem:
        import aiohttp

        # The class without hierarchical buckets: the other asks one more API what a bucket is.
        from gcsfs.core import GCSFileSystem

        from fxci_assets.resources.google_credentials import credentials

        # It logs what it raises, with a traceback.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
        return GCSFileSystem(
            token="anon" if self._emulator else credentials(self._credentials, _CREDENTIALS),
            endpoint_url=self._location,
            # A bound for the whole request would be an error that gcsfs does not repeat.
            requests_timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=10, sock_read=self._request_seconds
            ),
            use_listings_cache=False,
            # Instances are known by their arguments, which are secret.
            skip_instance_cache=True,
        )
