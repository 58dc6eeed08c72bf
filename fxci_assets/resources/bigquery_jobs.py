"""What BigQuery and the network do to a request or a job: what is asked again, how long a job is
waited for, and what a refusal means.

Here belongs what is so of every request. What is asked of BigQuery is `bigquery_warehouse`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import requests
from google.api_core import exceptions as _errors
from google.api_core.retry import Retry as _Retry
from google.auth.exceptions import GoogleAuthError as _GoogleAuthError
from google.auth.exceptions import TransportError as _TransportError
from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator

from fxci_assets.resources.warehouse import WarehouseError
from fxci_assets.settings import variable
from fxci_assets.texts import one_line

_log = logging.getLogger(__name__)

_RETRYABLE = frozenset(
    [
        "backendError",
        "badGateway",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "tableUnavailable",
    ]
)
"""The reasons after which BigQuery's documentation says to try again, for requests and jobs alike
(https://cloud.google.com/bigquery/docs/error-messages); a bad gateway is a proxy's on the way. A
used-up quota is not among them: it comes back tomorrow."""

_RETRYABLE_CODES = frozenset([408, 429, 500, 502, 503, 504])
"""An answer with one of these may be a proxy's, without a reason (the same page)."""

_FINAL = frozenset(["bytesBilledLimitExceeded", "quotaExceeded"])
"""Reasons that come with such a code, and are not to be tried again all the same."""

_LONGEST_PAUSE = 32.0
"""Seconds, by the requirements for backing off in https://cloud.google.com/bigquery/sla."""

_POLL_SECONDS = (0.1, 5.0)
"""Between two looks at a job: at first, and at last."""

_FAILURES = (_errors.GoogleAPIError, _GoogleAuthError, requests.RequestException)
"""What a request may raise."""

_QUERYS_OWN = frozenset(["invalid", "invalidQuery", "notFound"])
"""Reasons that say that a query is wrong, rather than the state of anything else."""


class BigQueryError(WarehouseError):
    """BigQuery refused, or did not answer. One line: about what, why, and what to do."""


class _JobFailed(Exception):
    """A job that ended with an error."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is waited for.

    Each request has `request_seconds`. One that fails for a passing reason is made again after a
    pause of up to `first_pause` seconds, doubled each time, for `retry_seconds`; and so is a job.
    BigQuery is told to stop a job after `job_seconds`. A write is over within the three, after it
    was last allowed to begin.
    """

    request_seconds: float = 60.0
    retry_seconds: float = 90.0
    job_seconds: float = 840.0  # load jobs are free, and can wait for minutes until they begin
    first_pause: float = 1.0

    @classmethod
    def within(cls, seconds: float) -> Patience:
        """As usual, or less where a write has to be over sooner."""
        usual = cls()
        whole = usual.request_seconds + usual.retry_seconds + usual.job_seconds
        share = min(1.0, seconds / whole)
        return cls(
            share * usual.request_seconds, share * usual.retry_seconds, share * usual.job_seconds
        )


Clients = Callable[[], contextlib.AbstractContextManager[bigquery.Client]]
"""Gives a client for as long as one operation takes."""


@contextlib.contextmanager
def connected(clients: Clients, where: str, patience: Patience) -> Iterator[Api]:
    """BigQuery's API for one purpose; `where` says which, in errors and warnings."""
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(clients())
        except _GoogleAuthError as error:
            raise BigQueryError(f"{where}: {_advised(error, ())}") from error
        yield Api(client, where, patience)


@dataclass(frozen=True, slots=True)
class Api:
    """BigQuery's API for one purpose."""

    client: bigquery.Client
    where: str
    patience: Patience

    @property
    def retry(self) -> _Retry:
        """For one request."""
        return self._retry(_is_transient)

    @property
    def _of_a_job(self) -> _Retry:
        """For a request for a job that was made: it can be unknown for a moment
        (https://github.com/googleapis/python-bigquery/issues/2134)."""
        return self._retry(lambda e: isinstance(e, _errors.NotFound) or _is_transient(e))

    @contextlib.contextmanager
    def explained(self, *permissions: str, query: bool = False) -> Iterator[None]:
        """Turns what a request raises into a BigQueryError, and what is wrong with a query itself
        into the QueryError that it is in every warehouse. `permissions` are those that it needs."""
        try:
            yield
        except (*_FAILURES, _JobFailed) as error:
            cause = error.cause if isinstance(error, _errors.RetryError) and error.cause else error
            if query and _reason(cause) in _QUERYS_OWN:
                from fxci_assets.dialect.errors import QueryError

                raise QueryError(_text(cause)) from error
            text = f"{self.where}: {_advised(cause, permissions)}"
            if cause is not error:
                text += f" (given up after {self.patience.retry_seconds:g} s)"
            raise BigQueryError(text) from error

    def load(
        self,
        file: IO[bytes],
        size: int,
        destination: bigquery.TableReference,
        config: bigquery.LoadJobConfig,
        *,
        name: str,
        location: str | None,
        before_each: Callable[[], None],
    ) -> bigquery.LoadJob:
        """Loads a file by one job, whose id is the name and the number of the attempt.

        An answer can be lost although the job was made. The request that is then made again has
        the same id, is refused, and the job that is there is the one to wait for: so nothing is
        loaded twice. Only after a job that failed is there another. The client does this for the
        ids that it makes up, which are those of queries.
        """
        numbers = itertools.count(1)
        config.job_timeout_ms = int(self.patience.job_seconds * 1_000)

        def submit(job_id: str) -> bigquery.LoadJob:
            try:
                return self.client.load_table_from_file(
                    file,
                    destination,
                    rewind=True,
                    size=size,
                    # Its own repetitions pass over what BigQuery answers as 403.
                    num_retries=0,
                    job_id=job_id,
                    location=location,
                    job_config=config,
                    timeout=self.patience.request_seconds,
                )
            except _errors.Conflict:
                _log.info("%s: the job %s is there already", self.where, job_id)
                job = self.client.get_job(job_id, location=location, retry=self._of_a_job)
                if not isinstance(job, bigquery.LoadJob):
                    raise
                return job

        def attempt() -> bigquery.LoadJob:
            before_each()
            job = self.retry(submit)(f"{name}-{next(numbers)}")
            self._wait(job)
            return job

        return self._retry(_is_worth_another_job)(attempt)()

    def query(
        self,
        sql: str,
        config: bigquery.QueryJobConfig,
        *,
        location: str | None = None,
        before_each: Callable[[], None] = lambda: None,
    ) -> bigquery.QueryJob:
        """Runs a query by one job, and by another where that fails for a passing reason."""
        config.job_timeout_ms = int(self.patience.job_seconds * 1_000)

        def attempt() -> bigquery.QueryJob:
            before_each()
            job = self.client.query(
                sql,
                job_config=config,
                location=location,
                retry=self.retry,
                job_retry=None,
                timeout=self.patience.request_seconds,
            )
            self._wait(job)
            return job

        return self._retry(_is_worth_another_job)(attempt)()

    def rows(self, job: bigquery.QueryJob) -> RowIterator:
        """The result of a query that was run: over the REST API, as the Storage API that is faster
        with large ones would be one more to enable and to be permitted."""
        return job.result(retry=self.retry, timeout=self.patience.request_seconds)

    def _wait(self, job: bigquery.LoadJob | bigquery.QueryJob) -> None:
        """Until the job is done. By looks at the job alone: what an error in the answer to a
        request for results means, the request's or the job's, is not certain."""
        pause, longest = _POLL_SECONDS
        # BigQuery does not promise to stop it in time.
        give_up_at = time.monotonic() + self.patience.job_seconds + longest
        while not job.done(retry=self._of_a_job, timeout=self.patience.request_seconds):
            if time.monotonic() > give_up_at:
                job.cancel(retry=self.retry, timeout=self.patience.request_seconds)
                raise _JobFailed(
                    "timeout", f"job {job.job_id} did not end in {self.patience.job_seconds:g} s"
                )
            time.sleep(pause)
            pause = min(1.5 * pause, longest)
        if job.error_result:
            raise _JobFailed(
                job.error_result.get("reason", "unknown"), job.error_result.get("message", "")
            )

    def _retry(self, predicate: Callable[[Exception], bool]) -> _Retry:
        return _Retry(
            predicate=predicate,
            initial=self.patience.first_pause,
            maximum=_LONGEST_PAUSE,
            timeout=self.patience.retry_seconds,
            on_error=lambda error: _log.warning(
                "%s: %s; tried again for up to %g s",
                self.where,
                _said(error),
                self.patience.retry_seconds,
            ),
        )


def _is_transient(error: Exception) -> bool:
    """Whether a request that raised this is worth making again."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    if isinstance(error, _errors.GoogleAPICallError):
        reason = _reason(error)
        return reason in _RETRYABLE or (error.code in _RETRYABLE_CODES and reason not in _FINAL)
    return isinstance(
        error,
        requests.exceptions.ConnectionError
        | requests.exceptions.Timeout
        | requests.exceptions.ChunkedEncodingError
        | _TransportError,
    )


def _is_worth_another_job(error: Exception) -> bool:
    return isinstance(error, _JobFailed) and error.reason in _RETRYABLE


def labels_of(*labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as BigQuery takes them: lower case, letters and digits, `_` and `-`, up to 63 of
    them, and a key begins with a letter (https://cloud.google.com/bigquery/docs/labels-intro).

    A label tells people something and must not be what a write fails of, so that what does not
    fit is replaced.
    """
    return {
        _label(key).lstrip("_-0123456789") or "label": _label(value)
        for given in labels
        for key, value in given.items()
    }


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "_", text.lower())[:63]


def job_url(job: bigquery.LoadJob | bigquery.QueryJob) -> str:
    """The job in Google's console."""
    return (
        f"https://console.cloud.google.com/bigquery?project={job.project}"
        f"&j=bq:{job.location}:{job.job_id}&page=queryresults"
    )


def _advised(error: Exception, permissions: tuple[str, ...]) -> str:
    """What BigQuery said, and what to do about it."""
    said = _said(error)
    reason = _reason(error)
    if reason == "quotaExceeded":
        return (
            f"{said}; wait until the quota is filled up, or ask for more of it "
            "(https://cloud.google.com/bigquery/quotas)"
        )
    if reason == "accessDenied" or (reason is None and isinstance(error, _errors.Forbidden)):
        named = re.findall(r"\bbigquery\.\w+\.\w+", said) or permissions
        return f"{said}; give these credentials the permission {' and '.join(dict.fromkeys(named))}"
    if reason == "bytesBilledLimitExceeded":
        bound = variable("bigquery", "maximum_bytes_billed")
        return f"{said}; ask for fewer days or columns, or raise {bound}"
    if reason == "notFound" or isinstance(error, _errors.NotFound):
        project, dataset = variable("bigquery", "project"), variable("bigquery", "dataset")
        return (
            f"{said}; it must be there, and called so: check {project} and {dataset}, and of a "
            f"billing export {variable('billing', '…')}"
        )
    if isinstance(error, _errors.Unauthorized) or (
        isinstance(error, _GoogleAuthError) and not isinstance(error, _TransportError)
    ):
        return f"{said}; renew the credentials ({variable('bigquery', 'credentials')})"
    return said


def _reason(error: Exception) -> str | None:
    """BigQuery's own word for an error, as in its documentation."""
    if isinstance(error, _JobFailed):
        return error.reason
    details = getattr(error, "errors", None) or ()
    first = details[0] if details else None
    return first.get("reason") if isinstance(first, Mapping) else None


def _text(error: Exception) -> str:
    """What was said, in one line and without the URL that it was said of."""
    if isinstance(error, _JobFailed):
        return one_line(error.text)
    if isinstance(error, _errors.GoogleAPICallError):
        first = error.errors[0] if error.errors else None
        return one_line(first.get("message") if isinstance(first, Mapping) else error.message)
    return one_line(error)


def _said(error: Exception) -> str:
    return f"{_reason(error) or type(error).__name__}: {_text(error)}"
