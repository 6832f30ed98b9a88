"""thaw and the AWS command line against a real S3 server on loopback (test/support/rgw.py), straight
and through a proxy that shapes the link."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lib.bench import need

SUPPORT = Path(__file__).resolve().parents[2] / "test" / "support"
# The AWS command line's own start takes half a second; Debian's is the one that users have.
AWS = "/usr/bin/aws" if os.access("/usr/bin/aws", os.X_OK) else shutil.which("aws")


@contextlib.contextmanager
def served(program, *options, env=None):
    """Runs a server of test/support that prints or writes where it listens; its output is read by
    the caller through the file that it was told."""
    process = subprocess.Popen([sys.executable, "-B", str(SUPPORT / program), *map(str, options)],
                               stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
                               start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stdout.close()


class Server:
    """A real S3 server, with one bucket. A context manager."""

    def __init__(self, bench):
        self._bench = bench
        self._stack = contextlib.ExitStack()
        self.variables = {}

    def __enter__(self):
        folder, variables = self._bench.place("rgw"), self._bench.place("rgw.env")
        process = self._stack.enter_context(served("rgw.py", "--dir", folder, "--env-file", variables))
        while not (variables.exists() and variables.stat().st_size):
            need(process.poll() is None, "the S3 server did not start: ./dev deps test")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        for line in variables.read_text().splitlines():
            name, _, value = line.partition("=")
            self.variables[name] = value
        return self

    def __exit__(self, *_):
        self._stack.close()

    @property
    def endpoint(self):
        return self.variables["THAW_TEST_S3_ENDPOINT"]

    @property
    def bucket(self):
        return self.variables["THAW_TEST_S3_BUCKET"]

    @property
    def credentials(self):
        return {"AWS_ACCESS_KEY_ID": self.variables["THAW_TEST_S3_ACCESS_KEY"],
                "AWS_SECRET_ACCESS_KEY": self.variables["THAW_TEST_S3_SECRET_KEY"],
                "AWS_DEFAULT_REGION": self.variables["THAW_TEST_S3_REGION"],
                "AWS_EC2_METADATA_DISABLED": "true"}

    @contextlib.contextmanager
    def shaped(self, *options):
        """A proxy before it; answers its endpoint."""
        with served("fault_proxy.py", "--upstream", self.endpoint, *options) as process:
            # It may say its seed first.
            for line in process.stdout:
                if line.startswith("http"):
                    yield line.strip()
                    return
            need(False, "the proxy did not start")


class BucketThaw:
    """thaw with its store in the bucket, below a prefix of its own."""

    def __init__(self, bench, name, binary, server, endpoint=None):
        self._bench = bench
        self._binary = binary
        self._server = server
        self._state = bench.place(name)
        self._endpoint = endpoint or server.endpoint
        self._prefix = name
        self._saves = 0
        self._state.mkdir()

    def reset(self):
        """Another prefix with nothing in it, and no stat cache."""
        self._saves += 1
        self._prefix = f"{self._state.name}-{self._saves}"
        self.forget()

    def forget(self):
        self._bench.place(f"{self._state.name}/cache")

    def through(self, endpoint):
        """The same store, reached by way of another endpoint."""
        other = BucketThaw(self._bench, f"{self._state.name}-through", self._binary, self._server, endpoint)
        other._prefix = self._prefix
        return other

    @property
    def url(self):
        return f"s3://{self._server.bucket}/{self._prefix}?endpoint={self._endpoint}"

    @property
    def bench(self):
        return self._bench

    @property
    def binary(self):
        return self._binary

    @property
    def command(self):
        return [self._binary, "--store", self.url, "--json"]

    @property
    def environment(self):
        return self._bench.environment(self._state) | self._server.credentials

    def save(self, key, path):
        return self._bench.run([*self.command, "save", key, path], env=self.environment)

    def restore(self, key, path, *options):
        return self._bench.run([*self.command, "restore", key, path, *options], env=self.environment)


class BucketTar:
    """What people use today: tar, a compressor, and the AWS command line."""

    def __init__(self, bench, name, server, endpoint=None, gzip=False):
        need(AWS, "the AWS command line is missing: ./dev deps bench")
        self._bench = bench
        self._state = bench.place(name)
        self._state.mkdir()
        self._server = server
        self._gzip = gzip
        self._object = f"s3://{server.bucket}/{name}.tar"
        self._aws = [AWS, "--endpoint-url", endpoint or server.endpoint, "s3", "cp", "--quiet"]

    def save(self, path):
        packed = [["tar", "-cz", "-C", path, "."]] if self._gzip else [
            ["tar", "-c", "-C", path, "."], ["zstd", "-3", "-T0", "-q"]]
        return self._run(*packed, [*self._aws, "-", self._object])

    def read_object(self, name):
        """From now on restores read this object of the bucket."""
        self._object = f"s3://{self._server.bucket}/{name}"

    def restore(self, path, endpoint=None):
        aws = list(self._aws)
        if endpoint:
            aws[2] = endpoint
        fetched = [*aws, self._object, "-"]
        if self._gzip:
            return self._run(fetched, ["tar", "-xz", "-C", path])
        return self._run(fetched, ["zstd", "-dc"], ["tar", "-x", "-C", path])

    def _run(self, *pipeline):
        return self._bench.run(*pipeline,
                               env=self._bench.environment(self._state) | self._server.credentials)
