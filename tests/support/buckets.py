"""A bucket to archive in: SeaweedFS's S3, a server that is not ours, with the signatures and ranges of a real one."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.production import needs
from tests.support.servers import BIN, free_port, until


KEY, SECRET = "test-key", "test-secret-of-the-bucket"
NAME = "calls"
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
_WHO = [{"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}]


class BucketServer(NamedTuple):
    """`url` is an ARCHIVE_URL; whoever opens it needs `environment`."""

    url: str
    client: Any
    process: "subprocess.Popen[bytes]"

    environment = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def names(self) -> list[str]:
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=NAME).get("Contents", [])]


@contextmanager
def bucket_server(folder: Path) -> Iterator[BucketServer]:
    needs("weed")
    config, port, log = folder / "s3.json", free_port(), folder / "weed.log"
    config.write_text(json.dumps({"identities": _WHO}))
    options = [f"-{name}={free_port()}" for name in _PORTS]
    command = [str(BIN / "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options]
    command += [
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.port={port}",
        f"-s3.port.grpc={free_port()}",
        f"-s3.config={config}",
        "-volume.max=4",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        client = _client(endpoint)
        until(lambda: _makes_bucket(client), "SeaweedFS to make a bucket")
        yield BucketServer(f"s3://{NAME}/audio?region=eu-central-1&endpoint={endpoint}", client, process)
    finally:
        process.kill()
        process.wait()


def _client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}),
    )


def _makes_bucket(client: Any) -> bool:
    try:
        client.create_bucket(Bucket=NAME)
        # It takes buckets before it has room for what is in them.
        client.put_object(Bucket=NAME, Key="room", Body=b"")
        client.delete_object(Bucket=NAME, Key="room")
    except (BotoCoreError, ClientError):
        return False
    return True
