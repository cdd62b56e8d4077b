"""Signed URLs of django-storages' S3, for ASYNC_REPLY["SIGNED_URL"]; needs the extra `s3`."""

from django.core.exceptions import ImproperlyConfigured
from django.utils.http import content_disposition_header
from storages.backends.s3 import S3Storage

from async_reply.models import OperationFile


def signed_url(row: OperationFile, *, seconds: int, method: str) -> str:
    """A URL that serves the file of `row` to whoever holds it, for `seconds` at most.

    It ends with the storage's own `querystring_expire` where that is sooner. Name and type of
    the file are part of what is signed. Raises ImproperlyConfigured for a storage that would
    hand out an unsigned URL.
    """
    storage = row.file.storage
    if not isinstance(storage, S3Storage) or not _signs(storage):
        raise ImproperlyConfigured(
            f"{type(storage).__qualname__} does not sign its URLs: set querystring_auth, and a "
            'cloudfront_signer beside custom_domain, or leave ASYNC_REPLY["SIGNED_URL"] away.'
        )
    parameters = {
        "ResponseContentType": row.content_type or "application/octet-stream",
        "ResponseContentDisposition": content_disposition_header(True, row.name) or "attachment",
    }
    if storage.custom_domain:
        # A distribution takes them as the query of the object they become in the end.
        parameters = {
            "response-content-type": parameters["ResponseContentType"],
            "response-content-disposition": parameters["ResponseContentDisposition"],
        }
    expire = min(seconds, storage.querystring_expire)
    name = str(row.file.name)
    url: str = storage.url(name, parameters=parameters, expire=expire, http_method=method)
    return url


def _signs(storage: S3Storage) -> bool:
    through_us = not storage.custom_domain or storage.cloudfront_signer is not None
    return bool(storage.querystring_auth and through_us)
