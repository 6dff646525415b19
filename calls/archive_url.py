"""Where the archive is: ARCHIVE_URL as Django's STORAGES take it.

Pure: the settings read it, before anything of Django's is there.
"""

from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit


# The name of the archive among the storages.
ALIAS = "archive"


def storages(url: str) -> dict[str, Any]:
    """What a URL adds to STORAGES; nothing if it is empty. Raises ValueError, which says in words what is wrong.

    file:///folder, or s3://bucket/prefix?region=eu-central-1&endpoint=https://… of which only the bucket is needed.
    """
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("it has a name or a password in it, which belong in the AWS_… variables")
    match parts.scheme:
        case "file":
            return {ALIAS: _folder(parts)}
        case "s3":
            return {ALIAS: _bucket(parts)}
    raise ValueError("it begins neither with file:/// nor with s3://")


def _folder(parts: SplitResult) -> dict[str, Any]:
    if parts.netloc or parts.query or parts.fragment or not parts.path.strip("/"):
        raise ValueError("it is not file:// and the whole path of a folder, as in file:///srv/callstream/archive")
    return {"BACKEND": "calls.store.folder.Folder", "OPTIONS": {"location": unquote(parts.path)}}


def _bucket(parts: SplitResult) -> dict[str, Any]:
    if not parts.netloc or parts.fragment:
        raise ValueError("it names no bucket, as in s3://bucket/prefix")
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if strange := options.keys() - {"region", "endpoint"}:
        raise ValueError(f"it has {min(strange)}, and knows region and endpoint only")
    endpoint = options.get("endpoint")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname):
        raise ValueError(f"its endpoint, {endpoint}, is no http or https address")
    named = {"bucket": parts.netloc, "prefix": unquote(parts.path.strip("/")), "region": options.get("region")}
    return {"BACKEND": "calls.store.bucket.Bucket", "OPTIONS": {**named, "endpoint": endpoint}}
