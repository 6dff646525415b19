"""An archive that is a bucket of S3's, or of another service that speaks like it: ARCHIVE_URL=s3://…

Imported only where the archive is one, since it takes the extra `callstream[archive]`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from calls.store.archive import Away, Missing


# Seconds until a service that does not answer is away, for whoever waits for a recording; and how often it is asked.
CONNECT, READ, TRIES = 3, 10, 2
# As many as wait for it at once in one process.
CONNECTIONS = 50


class Bucket(S3Storage):
    """Who we are the environment says: AWS_ACCESS_KEY_ID and the like, a profile, or the machine's own role."""

    bucket_name: str

    def __init__(self, bucket: str, prefix: str, region: str | None, endpoint: str | None) -> None:
        config = Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            retries={"mode": "standard", "total_max_attempts": TRIES},
            max_pool_connections=CONNECTIONS,
            signature_version="s3v4",
            # Who runs a service of their own seldom has a name in the DNS for each bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
            # Other services than Amazon's refuse its newer checksums; ours go over all that is read back.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(  # type: ignore[no-untyped-call]
            bucket_name=bucket,
            location=prefix,
            region_name=region,
            endpoint_url=endpoint,
            client_config=config,
            # A part at a time: 8 MB of memory.
            transfer_config=TransferConfig(use_threads=False),
        )

    @cached_property
    def _client(self) -> Any:
        """One for all threads, which boto3's clients allow: making one takes as long as fifty ranges."""
        return self.connection.meta.client

    def read_range(self, name: str, start: int, size: int) -> bytes:
        with self._answering(name):
            span = f"bytes={start}-{start + size - 1}"
            answer = self._client.get_object(Bucket=self.bucket_name, Key=self._key(name), Range=span)
            return bytes(answer["Body"].read())

    def settle(self, name: str) -> None:
        """What it has taken it keeps."""

    def _save(self, name: str, content: Any) -> str:
        with self._answering(name):
            return str(super()._save(name, content))  # type: ignore[no-untyped-call]

    def size(self, name: str) -> int:
        with self._answering(name):
            return int(self._client.head_object(Bucket=self.bucket_name, Key=self._key(name))["ContentLength"])

    def delete(self, name: str) -> None:
        with self._answering(name):
            super().delete(name)  # type: ignore[no-untyped-call]

    def ask(self) -> None:
        """Raises Away unless the bucket is there and lets us in."""
        with self._answering(""):
            self._client.head_bucket(Bucket=self.bucket_name)

    def _key(self, name: str) -> str:
        return str(self._normalize_name(clean_name(name)))  # type: ignore[no-untyped-call]

    @contextmanager
    def _answering(self, name: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            # HEAD has no body, and so only a number.
            if name and code in ("NoSuchKey", "InvalidRange", "404"):
                raise Missing(f"{name} is not in the bucket {self.bucket_name}, or is shorter") from error
            raise Away(f"the archive's bucket {self.bucket_name} refuses: {error}") from error
        except (BotoCoreError, Boto3Error) as error:
            raise Away(f"the archive's bucket {self.bucket_name} does not answer: {error}") from error
