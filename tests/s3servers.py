"""Real S3 servers, one of each kind for the tests of one process: moto's, and SeaweedFS. Both come as wheels.

Both check signatures and rights, and keep conditional writes. Each knows four users: one who may do everything, and one
without each right. What they do not enforce (regions, tokens that expire, moto also clocks) a `s3proxy.Proxy` answers.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from typing import NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PATIENCE = 60  # seconds that a server may take to start on a busy machine
REGION = "us-east-1"
RIGHTS = {  # right -> its name in SeaweedFS, its names in AWS; who may not write may not delete
    "read": ("Read", ["s3:GetObject"]),
    "write": ("Write", ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]),
    "list": ("List", ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"]),
}

# Runs the server until our end of the pipe closes, as it does however we end; then nothing is left, not even its data.
KEEPER = """
exec 3<&0
"$@" <&- 3<&- & server=$!
{ read -r _ <&3; kill -9 $server; } 2>&- & watcher=$!
wait $server; code=$?
kill $watcher
rm -rf "$ROOM" $LITTER
exit $code
"""


class Keys(NamedTuple):
    """With what somebody signs."""

    id: str
    secret: str
    token: str | None = None


class Server:
    """A server at `url`. `keys` are of who may do everything; `lacking[right]` of who has all rights but this one."""

    sign = b""  # is in its log when it listens
    environment = {}
    litter = ()  # what it leaves outside of its folder

    def __init__(self):
        self.keys, self.lacking = Keys("admin", uuid.uuid4().hex), {}
        for tries in range(5):
            with contextlib.suppress(OSError, BotoCoreError, ClientError):  # somebody took a port meanwhile
                self.room = Path(tempfile.mkdtemp(prefix="d6tstore-s3-"))
                self._start(self.command())
                atexit.register(self.close)
                return
            self.close()
        raise RuntimeError(f"the server does not start. Run it by hand: {self.command()}")

    def command(self):
        """The command line. It sets `url`."""
        raise NotImplementedError

    def prepare(self):
        """Called when it answers: make the users."""

    def boto(self, keys=None, url=None, **config):
        """A client that tries once. `url`: of a proxy."""
        options = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **config}
        return session(keys or self.keys).client("s3", endpoint_url=url or self.url, config=Config(**options))

    @contextlib.contextmanager
    def bucket(self):
        """A bucket that no other test uses. Gives its name."""
        client, name = self.boto(), f"t-{uuid.uuid4().hex[:12]}"
        with contextlib.closing(client):
            client.create_bucket(Bucket=name)
            yield name
            for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
                client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
                if found := [{"Key": entry["Key"]} for entry in page.get("Contents", [])]:
                    client.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})
            client.delete_bucket(Bucket=name)

    def close(self):
        """Stop it; its data go."""
        self.process.stdin.close()
        self.process.wait()

    def _start(self, command):
        environment = {**os.environ, **self.environment, "ROOM": str(self.room), "LITTER": " ".join(self.litter)}
        with (self.room / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", KEEPER, "keeper", *command],
                cwd=self.room, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we still need it, to tidy up
            )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self.sign not in (self.room / "log").read_bytes():
                    raise ConnectionError  # whoever answers there, it is not ours
                return self.prepare()
            except (OSError, BotoCoreError, ClientError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)


class Moto(Server):
    """moto: the whole of S3 in memory. It looks neither at clocks nor at checksums of what it is sent."""

    sign = b"Running on"

    def command(self):
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    def prepare(self):
        self._check_from(float("inf"))
        self.keys = self._user("admin")
        self.lacking = {right: self._user(f"no-{right}", names) for right, (_, names) in RIGHTS.items()}
        self._check_from(0)

    @contextlib.contextmanager
    def trusting(self):
        """Within it signatures are not checked: for a proxy that changes what was signed."""
        self._check_from(float("inf"))
        try:
            yield
        finally:
            self._check_from(0)

    def session(self):
        """Keys of a role that may do everything, with a session token."""
        iam, sts = (session(self.keys).client(name, endpoint_url=self.url) for name in ("iam", "sts"))
        role = iam.get_role(RoleName="admin")["Role"]["Arn"]
        made = sts.assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
        return Keys(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])

    def _user(self, name, denied=()):
        iam = session(self.keys).client("iam", endpoint_url=self.url)
        rules = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
        rules += [{"Effect": "Deny", "Action": list(denied), "Resource": "*"}] if denied else []
        policy = {"PolicyName": "rules", "PolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": rules})}
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, **policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        if not denied:
            trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
            trusted = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted)
            iam.put_role_policy(RoleName=name, **policy)
        return Keys(made["AccessKeyId"], made["SecretAccessKey"])

    def _check_from(self, count):
        """moto looks at signatures and rights after so many requests."""
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", str(count).encode(), headers)
        urllib.request.urlopen(request).close()


class SeaweedFS(Server):
    """SeaweedFS, which people run in production: files in a folder, checksums and clocks are checked."""

    sign = b"Start Seaweed S3 API Server"
    environment = {
        "WEED_FILER_OPTIONS_MAX_FILE_NAME_LENGTH": "1024",  # else 255 bytes between two slashes
        "WEED_S3_SSE_KEY": "of tests",
    }

    def command(self):
        names = ("master.port", "volume.port", "filer.port", "s3.port")
        ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8)))
        self.url = f"http://127.0.0.1:{ports['s3.port']}"
        self.litter = [
            f"/tmp/seaweedfs-{name.partition('.')[0]}-grpc-{port}.sock"
            for name, port in ports.items()
            if "grpc" in name
        ]
        self.lacking = {right: Keys(f"no-{right}", uuid.uuid4().hex) for right in RIGHTS}
        users = {self.keys: ["Admin"]}
        for right, keys in self.lacking.items():
            users[keys] = [name for other, (name, _) in RIGHTS.items() if other != right]
        identities = [
            {"name": keys.id, "credentials": [{"accessKey": keys.id, "secretKey": keys.secret}], "actions": actions}
            for keys, actions in users.items()
        ]
        (self.room / "users.json").write_text(json.dumps({"identities": identities}))
        settings = {
            **ports,
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": self.room,
            "master.telemetry": "false",  # it would tell its makers
            "master.peers": "none", "master.volumeSizeLimitMB": 64, "volume.max": 0, "volume.preStopSeconds": 0,
            "filer.localSocket": self.room / "filer.sock", "s3.localSocket": self.room / "s3.sock",
            "s3.config": self.room / "users.json", "s3.autoCreateBucket": "false", "s3.iam.readOnly": "false",
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        weed = Path(sys.executable).with_name("weed")
        flags = [f"-{name}={value}" for name, value in settings.items()]
        return [str(weed), "-logtostderr", "server", "-filer", "-s3", *flags]

    def prepare(self):
        with self.bucket() as name, contextlib.closing(self.boto()) as client:
            client.put_object(Bucket=name, Key="ready", Body=b"1" * 10_000)


def free_ports(count):
    """Ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@functools.cache
def session(keys):
    """Of boto3, which takes long to make one."""
    return boto3.Session(*keys, region_name=REGION)


@functools.cache
def moto():
    """The moto server of this process; it stops with it, however it ends."""
    return Moto()


@functools.cache
def seaweedfs():
    """The SeaweedFS of this process; it stops with it, however it ends."""
    return SeaweedFS()
