"""Makes signed URLs of files in S3 by django-storages, for the setting SIGNED_URL.

Needs the extra `s3`.
"""

from django.core.exceptions import ImproperlyConfigured
from django.utils.http import content_disposition_header
from storages.backends.s3 import S3Storage

from async_reply.models import OperationFile


def signed_url(row: OperationFile, *, seconds: int, method: str) -> str:
    """A URL that serves the file of `row` without credentials for `seconds`.

    The URL expires after the storage's own `querystring_expire` if that is shorter. The signature
    covers the name and the media type of the file. Raises ImproperlyConfigured for a storage that
    does not sign its URLs.
    """
    storage = row.file.storage
    if not isinstance(storage, S3Storage) or not _signs(storage):
        raise ImproperlyConfigured(
            f"{type(storage).__qualname__} does not sign its URLs: set querystring_auth, and a "
            'cloudfront_signer beside custom_domain, or remove ASYNC_REPLY["SIGNED_URL"].'
        )
    parameters = {
        "ResponseContentType": row.content_type or "application/octet-stream",
        "ResponseContentDisposition": content_disposition_header(True, row.name) or "attachment",
    }
    if storage.custom_domain:
        # A CloudFront distribution passes these names on to S3 as the query of the object.
        parameters = {
            "response-content-type": parameters["ResponseContentType"],
            "response-content-disposition": parameters["ResponseContentDisposition"],
        }
    expire = min(seconds, storage.querystring_expire)
    name = str(row.file.name)
    url: str = storage.url(name, parameters=parameters, expire=expire, http_method=method)
    return url


def _signs(storage: S3Storage) -> bool:
    has_signer = not storage.custom_domain or storage.cloudfront_signer is not None
    return bool(storage.querystring_auth and has_signer)
