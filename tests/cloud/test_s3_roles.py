"""Roles in S3, by the policies that stand in docs/roles.md.

What can go wrong: a policy that lacks what a pull or a push needs, or has more; who may only read is refused late; the
key that may write is used, or asked for, where reading is enough.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import s3servers
from botocore.exceptions import ClientError
from click.testing import CliRunner
from s3proxy import ACCESS_DENIED, Proxy

import d6tstore
from d6tstore.cli import cli
from d6tstore.errors import CredentialsError, D6tstoreError, Denied

PAGE = (Path(__file__).parents[2] / "docs/roles.md").read_text()
POLICIES = dict(re.findall(r'^```json title="([^"]+)\.json"\n(.*?)^```$', PAGE, re.M | re.S))
LARGE = 3_000_000  # rows: 24 MB, which go in parts
ACTIONS = {
    "s3:ListBucket": {"push", "push again", "prune", "gc", "pull"},
    "s3:GetObject": {"push", "push again", "prune"},  # and what was not pushed cannot be pulled
    "s3:PutObject": {"push", "push again", "prune"},
    "s3:DeleteObject": {"prune"},
    "s3:AbortMultipartUpload": {"tidy up", "gc"},
    "s3:ListBucketMultipartUploads": {"gc"},
}
"""What does not work without an action."""


class Prices(d6tstore.tasks.TaskPqPandas):
    rows: int = 10
    files = ["seed"]

    def run(self):
        self.save(pd.DataFrame({"price": np.random.default_rng(int(Path("seed").read_text())).random(self.rows)}))


class Bucket:
    """A bucket behind a proxy, and users of it with keys under the names of credentials."""

    def __init__(self, server, name, folder, monkeypatch):
        self.server, self.name, self._folder, self._monkeypatch = server, name, folder, monkeypatch
        self.proxy, self.boto = Proxy(server), server.boto()
        self.url = f"s3://{name}/team?endpoint={self.proxy.url}&region=us-east-1"
        self._iam = s3servers.session(server.keys).client("iam", endpoint_url=server.url)

    def user(self, name, policy):
        """A user with a policy, whose keys this process knows by that name."""
        who = f"{name}-{uuid.uuid4().hex[:8]}"
        self._iam.create_user(UserName=who)
        self._iam.put_user_policy(UserName=who, PolicyName="team", PolicyDocument=json.dumps(self._known(policy)))
        made = self._iam.create_access_key(UserName=who)["AccessKey"]
        variable = f"D6TSTORE_{name.upper().replace('-', '_')}"
        self._monkeypatch.setenv(f"{variable}_ACCESS_KEY", made["AccessKeyId"])
        self._monkeypatch.setenv(f"{variable}_SECRET_KEY", made["SecretAccessKey"])
        return self.server.boto(s3servers.Keys(made["AccessKeyId"], made["SecretAccessKey"]))

    def _known(self, policy):
        """The policy as the server knows it."""
        found = json.loads(json.dumps(policy).replace("team-results", self.name))["Statement"]
        if isinstance(self.server, s3servers.SeaweedFS):  # has no such action
            found = [statement for statement in found if statement["Action"] != "s3:ListBucketMultipartUploads"]
        elif "s3:DeleteObject" in json.dumps(policy):  # moto asks for it of the bucket, where AWS asks of each object
            found.append({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{self.name}"})
        return {"Version": "2012-10-17", "Statement": found}

    def pipe(self, store, **settings):
        """The pipe in a store, which becomes the current one."""
        d6tstore.init(self._folder / store)
        return d6tstore.pipes.init("team", url=self.url, **settings)

    def wrote(self):
        return [request for request in self.proxy.requests if request[0] not in ("GET", "HEAD")]

    def uploads(self):
        return len(self.boto.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))


@pytest.fixture(params=["moto", "seaweedfs"])
def bucket(request, tmp_path, monkeypatch):
    Path("seed").write_text("1")
    server = getattr(s3servers, request.param)()
    with server.bucket() as name:
        made = Bucket(server, name, tmp_path, monkeypatch)
        for role in ("reader", "writer"):
            made.user(f"team-{role}", json.loads(POLICIES[role]))
        yield made
        made.proxy.close()


def failing(bucket, credentials):
    """What does not work in the life of a pipe."""
    found = set()

    @contextlib.contextmanager
    def trying(name):
        try:
            yield
        except (D6tstoreError, AssertionError):
            found.add(name)

    pipe = bucket.pipe("writer", credentials=credentials)
    d6tstore.run([Prices(), Prices(rows=LARGE)])
    with trying("push"):
        pipe.push(Prices(), upstream=True)
    with trying("tidy up"), bucket.proxy.when("PUT", "partNumber=2", answer=ACCESS_DENIED):
        with contextlib.suppress(D6tstoreError):
            pipe.push()  # a part of an upload is refused
        assert bucket.uploads() == 0
    bucket.boto.create_multipart_upload(Bucket=bucket.name, Key="team/left")
    with trying("push again"):
        for seed in "234":  # more than are kept: old ones go
            Path("seed").write_text(seed)
            d6tstore.run(Prices())
            assert len(pipe.push(Prices()).changed) == 1
    with trying("prune"):
        Prices().invalidate()
        assert len(pipe.push(prune=True).removed) == 1
    with trying("gc"):
        with contextlib.suppress(D6tstoreError):
            pipe.gc(dry_run=False, older_than=-60)
        assert bucket.uploads() == 0
    with trying("pull"):
        bucket.pipe("other", credentials=credentials).pull()
    return found


def test_a_writer_can_do_all_that_a_pipe_does(bucket):
    without = {"gc"} if isinstance(bucket.server, s3servers.SeaweedFS) else set()
    assert failing(bucket, "team-writer") == without


@pytest.mark.parametrize("bucket", ["moto"], indirect=True)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_writer_needs_each_action(bucket, action):
    policy = json.loads(POLICIES["writer"])
    named = [statement["Action"] for statement in policy["Statement"]]
    assert ACTIONS.keys() == {name for each in named for name in ([each] if isinstance(each, str) else each)}
    policy["Statement"].append({"Effect": "Deny", "Action": action, "Resource": "*"})
    bucket.user("less", policy)
    assert failing(bucket, "less") == ACTIONS[action]


@pytest.mark.parametrize("bucket", ["seaweedfs"], indirect=True)  # moto has no conditions
@pytest.mark.parametrize("role", ["reader", "writer"])
def test_nobody_gets_elsewhere(bucket, role):
    client, where = bucket.user(role, json.loads(POLICIES[role])), {"Bucket": bucket.name}
    bucket.boto.put_object(**where, Key="other/x", Body=b"1")
    for call in (
        lambda: client.get_object(**where, Key="other/x"),
        lambda: client.list_objects_v2(**where),
        lambda: client.list_objects_v2(**where, Prefix="other/"),
        lambda: client.put_object(**where, Key="other/x", Body=b"2"),
        lambda: client.delete_object(**where, Key="other/x"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    assert client.list_objects_v2(**where, Prefix="team/")["KeyCount"] == 0


def test_a_reader_takes_all(bucket):
    pipe = bucket.pipe("writer", credentials="team-writer")
    d6tstore.run([*(Prices(rows=rows) for rows in range(40)), Prices(rows=LARGE)])  # so many that there is an index
    pipe.push()
    pipe = bucket.pipe("reader", credentials="team-reader")
    bucket.proxy.requests.clear()
    assert len(pipe.pull().new) == 41 and len(Prices(rows=LARGE).output().load()) == LARGE
    assert pipe.verify() == [] and len(pipe.log()) == 1 and pipe.status().same == list(pipe.status())
    assert bucket.wrote() == []


def test_a_reader_is_refused_before_anything_is_sent(bucket):
    pipe = bucket.pipe("reader", credentials="team-reader")
    d6tstore.run(Prices())
    bucket.proxy.requests.clear()
    with pytest.raises(Denied, match="may not be written, nothing was transferred"):
        pipe.push()
    ((method, path),) = bucket.wrote()
    assert method == "PUT" and "/.d6tstore/tmp/probe-" in path


def test_the_key_that_writes_is_used_for_nothing_else(bucket, monkeypatch):
    pipe = bucket.pipe("both", credentials="team-reader", write_credentials="team-writer")
    d6tstore.run(Prices())
    pipe.push_preview(), pipe.pull(), pipe.status(), pipe.log(), pipe.verify(), pipe.gc()
    assert bucket.wrote() == []
    assert len(pipe.push().new) == 1
    assert pipe.verify(repair=True) == [] and pipe.gc(dry_run=False, older_than=0).problems == []

    monkeypatch.delenv("D6TSTORE_TEAM_WRITER_SECRET_KEY")  # who may only read has no such key
    pipe = bucket.pipe("one", credentials="team-reader", write_credentials="team-writer")
    assert len(pipe.pull().new) == 1
    d6tstore.run(Prices(rows=2))
    bucket.proxy.requests.clear()
    with pytest.raises(CredentialsError, match="team-writer"):
        pipe.push()
    assert bucket.wrote() == []


def test_the_command_tries_both_keys(bucket, project):
    (project / "d6tstore.toml").write_text(f"""
        [pipes.team-features]
        url = "{bucket.url}"
        credentials = "team-reader"
        write_credentials = "team-writer"
        [pipes.reading]
        url = "{bucket.url}"
        credentials = "team-reader"
    """)
    told = CliRunner().invoke(cli, ["credentials", "test", "team-features"])
    assert told.exit_code == 0, told.output
    assert "a listing was read, a probe was written and deleted: ok" in told.output
    assert (
        "'team-writer' for writing: access_key from environment variable D6TSTORE_TEAM_WRITER_ACCESS_KEY" in told.output
    )
    told = CliRunner().invoke(cli, ["credentials", "test", "reading", "--write"])
    assert told.exit_code == 1 and "refused" in told.output


def test_files_are_sent_with_the_key_that_writes(bucket, project):
    names = {"credentials": "team-reader", "write_credentials": "team-writer"}
    pipe = d6tstore.pipes.files("files", url=bucket.url, local="mine", **names)
    (project / "mine").mkdir()
    (project / "mine/a.csv").write_text("1")
    assert pipe.push().moved == {"a.csv"}
    assert pipe.delete("a.csv", where="there", dry_run=False).moved == {"a.csv"}
    reader = d6tstore.pipes.files("reader", url=bucket.url, local="mine", credentials="team-reader")
    with pytest.raises(D6tstoreError, match="AccessDenied"):
        reader.push(mode="all")
    assert reader.files() == []
