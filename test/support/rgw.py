#!/usr/bin/python3
"""A real S3 server for tests: a Ceph RGW with a cluster of its own, on loopback, in one folder, as the current user.

    with Rgw(folder) as server:
        client = server.client(server.create_bucket())

    python3 rgw.py --dir DIR [--env-file FILE] [-- COMMAND...]

runs COMMAND with THAW_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY, _REGION and _BUCKET (a fresh one) in its environment
and exits as it does; without COMMAND it serves until it is interrupted.

It is one mon, one mgr without modules, one OSD that keeps everything in memory, and one radosgw: up in about a second.
Needs the packages ceph-mon, ceph-mgr, ceph-osd, radosgw and ceph-common; root or not does not matter.
"""

import argparse
import base64
import json
import os
import signal
import struct
import subprocess
import sys
import time
import urllib.parse
import uuid

from daemons import LOOPBACK, Daemons, StartError, free_port
from s3_client import Client, Keys, S3Error

REGION = "us-east-1"
# The secret holds what careless encoding breaks.
MAIN = Keys("THAWTESTMAIN00000001", "thaw/test+secret/main/0123456789abcdefgh")
OTHER = Keys("THAWTESTOTHER0000001", "thaw/test+secret/other/0123456789abcdefg")
# The key for x-amz-server-side-encryption: aws:kms. AES256 this server does not take.
KMS_KEY_ID = "thaw-test-key"


# -------------------------------------------------------------------------------------------- cluster

# Proposals of the mon are not gathered: each of the dozen steps to a first bucket would wait a second for company. A
# client that asked before the OSD was up looks again at its next tick, by default after 5 s.
# Logs hold errors only, since a line for each request is a third of what a small request costs.
CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_msgr1 = false
ms_async_op_threads = 2
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
run_dir = {folder}/run
admin_socket =
crash_dir = {folder}/log
log_file = {folder}/log/$name.log
mon_cluster_log_file = {folder}/log/cluster.log
log_to_stderr = false
err_to_stderr = false
client_mount_timeout = 30
paxos_propose_interval = 0.02
paxos_min_wait = 0.005
objecter_tick_interval = 0.1
mon_allow_pool_size_one = true
mon_data_avail_warn = 0
mon_data_avail_crit = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mgr_initial_modules =
mgr_pool = false
mgr_standby_modules = false
mgr_disabled_modules = {no_modules}
debug_ms = 0/0
debug_mon = 0/0
debug_paxos = 0/0
debug_auth = 0/0
debug_mgr = 0/0
debug_mgrc = 0/0
debug_osd = 0/0
debug_objecter = 0/0
debug_monc = 0/0
debug_objclass = 0/0
debug_rgw = 0/0

[mon]
mon_data = {folder}/mon

[mgr]
mgr_data = {folder}/mgr

[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = {capacity_bytes}
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_scrub_min_interval = 31536000
osd_scrub_max_interval = 31536000
osd_deep_scrub_interval = 31536000

[client]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_dns_name = localhost
rgw_thread_pool_size = 64
rgw_enable_gc_threads = false
rgw_enable_lc_threads = false
rgw_enable_quota_threads = false
rgw_run_sync_thread = false
rgw_dynamic_resharding = false
rgw_sts_key = 0123456789abcdef
rgw_crypt_require_ssl = false
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = {kms_key_id}={kms_key}
"""

RIGHTS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "mgr.a": {"mon": "allow profile mgr", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow rw"},
}

MODULES = "/usr/share/ceph/mgr"


def secret():
    """A cephx key: its type, when it was made, its length and bytes."""
    return base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()


def keyring():
    lines = []
    for name, rights in RIGHTS.items():
        lines += [f"[{name}]", f"key = {secret()}", *(f'caps {what} = "{right}"' for what, right in rights.items())]
    return "\n".join(lines) + "\n"


def policy(**statement):
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


class Server:
    """An S3 server that somebody runs; `endpoint`, `region` and `keys` say how to reach it."""

    def __init__(self, endpoint, region=REGION, keys=None, buckets="bucket-"):
        self.endpoint, self.region = endpoint, region
        self.keys = keys or {"main": MAIN, "other": OTHER}
        self._buckets, self._name = 0, buckets

    @classmethod
    def of_environment(cls):
        """The one that THAW_TEST_S3_ENDPOINT and its like name, which others may use as well; None: there is none."""
        variables = {name: os.environ.get("THAW_TEST_S3_" + name) for name in (
            "ENDPOINT", "REGION", "ACCESS_KEY", "SECRET_KEY", "OTHER_ACCESS_KEY", "OTHER_SECRET_KEY")}
        if not all(variables.values()):
            return None
        return cls(variables["ENDPOINT"], variables["REGION"], {
            "main": Keys(variables["ACCESS_KEY"], variables["SECRET_KEY"]),
            "other": Keys(variables["OTHER_ACCESS_KEY"], variables["OTHER_SECRET_KEY"])}, f"t-{uuid.uuid4().hex[:12]}-")

    def client(self, bucket=None, keys="main", **kw):
        """`keys`: a user's name, Keys, or None for anonymous requests."""
        keys = self.keys[keys] if isinstance(keys, str) else keys
        return Client(self.endpoint, keys, bucket, self.region, **kw)

    def create_bucket(self, name=None):
        """A new, empty bucket of the main user's; its name."""
        self._buckets += 1
        name = name or f"{self._name}{self._buckets}"
        with self.client() as client:
            client.create_bucket(name)
        return name

    def set_bucket_policy(self, bucket, policy):
        """`policy` as a value: a dict with Version and Statement."""
        with self.client() as client:
            client.set_policy(bucket, policy)

    def allow_other(self, bucket, *actions):
        """The other user may do this, and no more, to the bucket and what lies in it: "s3:GetObject"."""
        self.set_bucket_policy(bucket, policy(
            Principal={"AWS": ["arn:aws:iam:::user/other"]}, Action=list(actions),
            Resource=[f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]))

    def allow_anyone(self, bucket, *actions):
        """A public bucket."""
        self.set_bucket_policy(bucket, policy(
            Principal="*", Action=list(actions), Resource=[f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]))


class Rgw(Server):
    """A server of our own. What it stores is gone when it stops."""

    def __init__(self, folder, capacity_bytes=6 << 30):
        self.folder = os.path.abspath(folder)
        self.port = self._session_port = None
        super().__init__(None)
        self._capacity_bytes = capacity_bytes
        self._daemons = Daemons(os.path.join(self.folder, "log"))

    @property
    def environment(self):
        """What tests in other languages look for, but for the bucket."""
        return {
            "THAW_TEST_S3_ENDPOINT": self.endpoint, "THAW_TEST_S3_REGION": self.region,
            "THAW_TEST_S3_ACCESS_KEY": MAIN.access, "THAW_TEST_S3_SECRET_KEY": MAIN.secret,
            "THAW_TEST_S3_OTHER_ACCESS_KEY": OTHER.access, "THAW_TEST_S3_OTHER_SECRET_KEY": OTHER.secret,
        }

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """The folder must not hold another server's files."""
        for name in ("mon", "mgr", "osd", "rgw", "rgw-sts", "run"):
            os.makedirs(os.path.join(self.folder, name))
        try:
            self._start_cluster()
            self._start_gateway()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self._daemons.stop()

    def pids(self):
        return self._daemons.pids()

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        return os.path.join(self.folder, name)

    def _run(self, program, *words, **kw):
        return self._daemons.run(program, program, "-c", f"{self.folder}/ceph.conf", *words, **kw)

    def _start(self, program, *words):
        self._daemons.start(program, program, "-f", "-c", f"{self.folder}/ceph.conf", *words)

    def admin(self, *words):
        """radosgw-admin: its answer as a value."""
        said = self._run("radosgw-admin", "-n", "client.rgw", *words)
        return json.loads(said) if said.strip() else None

    def _start_cluster(self):
        fsid, osd_id, mon_port = str(uuid.uuid4()), str(uuid.uuid4()), free_port()
        self.port = free_port()
        # Path style. By the name localhost it also takes virtual-host style: http://BUCKET.localhost:PORT.
        self.endpoint = f"http://{LOOPBACK}:{self.port}"
        self._write("ceph.conf", CONFIGURATION.format(
            fsid=fsid, folder=self.folder, mon_port=mon_port, port=self.port,
            capacity_bytes=self._capacity_bytes, no_modules=" ".join(sorted(os.listdir(MODULES))),
            kms_key_id=KMS_KEY_ID, kms_key=base64.b64encode(os.urandom(32)).decode()))
        keys = self._write("keyring", keyring())
        monmap = f"{self.folder}/monmap"
        self._daemons.run("monmaptool", "monmaptool", "--create", "--fsid", fsid,
                          "--addv", "a", f"[v2:{LOOPBACK}:{mon_port}]", monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keys)
        self._start("ceph-mon", "-i", "a")
        self._start("ceph-mgr", "-i", "a")
        self._run("ceph", "osd", "new", osd_id)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        self._start("ceph-osd", "-i", "0")

    def _start_gateway(self):
        """The first command makes the gateway's pools, so nothing may run beside it."""
        self._create_user("main", MAIN)
        self._start("radosgw", "-n", "client.rgw")
        # A negative number of buckets: this user may make none.
        self._create_user("other", OTHER, "--max-buckets", "-1")
        self._daemons.wait_until_listening("radosgw", self.port)

    def _create_user(self, name, keys, *words):
        self.admin("user", "create", "--uid", name, "--display-name", name, "--access-key", keys.access,
                   "--secret-key", keys.secret, *words)

    # For tests.
    def session(self, seconds=900):
        """An endpoint and keys with a session token. It is a gateway of its own, since one that knows tokens answers
        AccessDenied to keys that are wrong in any way."""
        if self._session_port is None:
            port = free_port()
            self._daemons.start("radosgw-sts", "radosgw", "-f", "-c", f"{self.folder}/ceph.conf", "-n", "client.rgw",
                                "--rgw_s3_auth_use_sts=true", f"--rgw_data={self.folder}/rgw-sts",
                                f"--rgw_frontends=beast endpoint={LOOPBACK}:{port} tcp_nodelay=1")
            self.admin("role", "create", "--role-name", "tester", "--assume-role-policy-doc", json.dumps(policy(
                Principal={"AWS": ["arn:aws:iam:::user/main"]}, Action=["sts:AssumeRole"])))
            self._run("radosgw-admin", "-n", "client.rgw", "role-policy", "put", "--role-name", "tester",
                      "--policy-name", "all", "--policy-doc",
                      json.dumps(policy(Action=["s3:*"], Resource="arn:aws:s3:::*")))
            self._daemons.wait_until_listening("radosgw-sts", port)
            self._session_port = port
        endpoint = f"http://{LOOPBACK}:{self._session_port}"
        form = urllib.parse.urlencode({
            "Version": "2011-06-15", "Action": "AssumeRole", "RoleArn": "arn:aws:iam:::role/tester",
            "RoleSessionName": "test", "DurationSeconds": str(seconds)}).encode()
        with Client(endpoint, MAIN, region=self.region) as client:
            answer = client.request("POST", "/", None, {"Content-Type": "application/x-www-form-urlencoded"}, form,
                                    service="sts")
        if answer.status != 200:
            raise S3Error("AssumeRole", answer)
        found = {element.tag: element.text for element in answer.xml.iter()}
        return endpoint, Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def collect_garbage(self):
        """Frees the memory of what was deleted or overwritten, which the server would do hours later."""
        self.admin("gc", "process", "--include-all")


# -------------------------------------------------------------------------------------------- program

STOPPING = {signal.SIGINT, signal.SIGTERM}


def serve(server, command, env_file):
    variables = {**server.environment, "THAW_TEST_S3_BUCKET": server.create_bucket()}
    lines = "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))
    if env_file:
        with open(env_file + ".new", "w", encoding="utf-8") as file:
            file.write(lines)
        os.replace(env_file + ".new", env_file)
    if not command:
        print(lines, end="", flush=True)
        signal.sigwait(STOPPING)
        return 0
    child = subprocess.Popen(command, env={**os.environ, **variables},
                             preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING))
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal has sent it to the command as well
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    code = child.wait()
    return code if code >= 0 else 128 - code


def main():
    parser = argparse.ArgumentParser(description="Runs COMMAND beside a real S3 server.")
    parser.add_argument("--dir", required=True, help="for all of the server's files: new, or empty")
    parser.add_argument("--env-file", help="gets the variables as NAME=VALUE lines, once the server is up")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        with Rgw(options.dir) as server:
            return serve(server, options.command, options.env_file)
    except (StartError, S3Error, OSError) as fault:
        print(f"rgw: {fault}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
