"""What test/support serves does what it says: the S3 server, TLS in front of it, the fault proxy, AWS's credentials."""

import hashlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse

import pytest

import faults as fp
import s3_client
from aws_services import ContainerService, MetadataService, TokenService
from daemons import Daemons, StartError, listening
from fault_proxy import FaultProxy
from faults import Script, on
from rgw import KMS_KEY_ID, MAIN, OTHER, Rgw
from s3_client import Client, Keys, parse_xml
from small_server import BODY, ended, seconds_left
from tls_front import Authority, TlsFront, nginx

SUPPORT = os.path.dirname(os.path.abspath(fp.__file__))


# --------------------------------------------------------------------------------- AWS's credentials

def fetch(url, method="GET", body=None, **headers):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body,
                           {name.replace("_", "-"): str(value) for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_sts(work):
    with TokenService(work, keys=Keys("A", "S/+", "T<&>"), lifetime_s=900) as sts:
        def assume(content_type="application/x-www-form-urlencoded", **changes):
            with open(sts.token_file, encoding="ascii") as file:
                form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": sts.role,
                        "RoleSessionName": "thaw", "WebIdentityToken": file.read(), **changes}
            status, _, body = fetch(sts.endpoint + "/", "POST", urllib.parse.urlencode(form), Content_Type=content_type)
            return status, parse_xml(body)

        status, root = assume()
        found = {each.tag: each.text for each in root.iter()}
        assert status == 200 and root.tag == "AssumeRoleWithWebIdentityResponse"
        assert (found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]) == ("A", "S/+", "T<&>")
        assert 895 < seconds_left(found["Expiration"]) <= 900
        old = sts.token
        sts.rotate()
        assert sts.token != old and assume()[0] == 200
        for changes, code in [
                ({"WebIdentityToken": old}, "ExpiredTokenException"),
                ({"WebIdentityToken": "x"}, "InvalidIdentityToken"),
                ({"RoleArn": "arn:aws:iam::1:role/other"}, "AccessDenied"),
                ({"RoleSessionName": "no blanks"}, "ValidationError"), ({"DurationSeconds": "60"}, "ValidationError"),
                ({"Version": "2010-05-08"}, "InvalidAction"),
                ({"content_type": "text/plain"}, "SerializationException")]:
            status, root = assume(**changes)
            assert (status // 100, next(root.iter("Code")).text) == (4, code)
        sts.fail(503, times=2)
        assert [fetch(sts.endpoint + "/", "POST", "")[0] for _ in range(3)] == [503, 503, 400]
        assert sts.given() == 2
        assert len(sts.requests("POST", "/")) == 12


def test_container_credentials(work):
    with ContainerService(work, lifetime_s=60) as service:
        assert fetch(service.uri)[0] == 400
        assert fetch(service.uri, Authorization="wrong")[0] == 400
        with open(service.token_file, encoding="ascii") as file:
            old = file.read()
        status, headers, body = fetch(service.uri, Authorization=old)
        value = json.loads(body)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert Keys(value["AccessKeyId"], value["SecretAccessKey"], value["Token"]) == service.keys
        assert 55 < seconds_left(value["Expiration"]) <= 60
        service.rotate()
        assert fetch(service.uri, Authorization=old)[0] == 400
        assert fetch(service.uri, Authorization=service.token)[0] == 200
        assert fetch(service.endpoint + "/other", Authorization=service.token)[0] == 404
        assert service.given() == 2
        assert service.requests()[2].headers["authorization"] == old
    with ContainerService() as service:
        assert fetch(service.uri)[0] == 200


def test_instance_metadata():
    with MetadataService(lifetime_s=120) as imds:
        roles, token_url = imds.endpoint + imds.ROLES, imds.endpoint + imds.TOKEN
        ttl = {"X_aws_ec2_metadata_token_ttl_seconds": 21_600}
        assert fetch(roles)[0] == 401
        assert fetch(roles, X_aws_ec2_metadata_token="guessed")[0] == 401
        assert fetch(token_url)[0] == 405
        assert fetch(token_url, "PUT")[0] == 400
        assert fetch(token_url, "PUT", X_aws_ec2_metadata_token_ttl_seconds=21_601)[0] == 400
        assert fetch(token_url, "PUT", X_Forwarded_For="1.2.3.4", **ttl)[0] == 403
        status, headers, token = fetch(token_url, "PUT", **ttl)
        assert (status, headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"]) == (200, "21600")
        session = {"X_aws_ec2_metadata_token": token.decode()}
        assert fetch(roles, **session)[::2] == (200, b"test-role")
        value = json.loads(fetch(roles + "test-role", **session)[2])
        assert (value["Code"], value["AccessKeyId"], value["Token"]) == ("Success", imds.keys.access, imds.keys.token)
        assert 115 < seconds_left(value["Expiration"]) <= 120
        assert fetch(roles + "other", **session)[0] == 404
        assert fetch(imds.endpoint + "/latest/meta-data/placement/region", **session)[2] == b"us-east-1"
        assert imds.given() == 1
        imds.end_sessions()
        assert fetch(roles, **session)[0] == 401
    with MetadataService(role=None, session_limit_s=0) as imds:
        token = fetch(imds.endpoint + imds.TOKEN, "PUT", **ttl)[2].decode()
        assert fetch(imds.endpoint + imds.ROLES, X_aws_ec2_metadata_token=token)[0] == 401
        imds.session_limit_s = 60
        token = fetch(imds.endpoint + imds.TOKEN, "PUT", **ttl)[2].decode()
        assert fetch(imds.endpoint + imds.ROLES, X_aws_ec2_metadata_token=token)[0] == 404


# --------------------------------------------------------------------------------------- signatures

def test_the_signature_of_aws_own_example():
    headers = s3_client.signed_headers(
        Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "GET", "/test.txt", [],
        {"Host": "examplebucket.s3.amazonaws.com", "Range": "bytes=0-9"}, s3_client.EMPTY, "us-east-1", 1369353600)
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")


# ----------------------------------------------------------------------------------------------- TLS

def certificate_problem(front, authority, host):
    """What a client that trusts `authority` has against this server, or None."""
    try:
        with socket.create_connection(("127.0.0.1", front.port), timeout=20) as sock:
            with authority.context().wrap_socket(sock, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as fault:
        return fault.verify_message


@pytest.mark.skipif(not nginx() or not shutil.which("openssl"), reason="needs nginx-light and openssl")
def test_tls(upstream, work):
    authority, stranger = Authority(work), Authority(work, "stranger")
    names = ["IP:127.0.0.1", "DNS:localhost", "DNS:bucket.localhost"]
    with TlsFront(work, upstream.endpoint, authority.issue(names)) as front:
        (pid,) = front.pids().values()
        assert listening(pid) == {("127.0.0.1", front.port)}
        for host in ("127.0.0.1", "localhost", "bucket.localhost"):
            assert certificate_problem(front, authority, host) is None
        assert "unable to get local issuer" in certificate_problem(front, stranger, "localhost")
        connection = http.client.HTTPSConnection("localhost", front.port, context=authority.context(), timeout=20)
        connection.request("PUT", "/b/a//b%2Fc%20", BODY)
        assert connection.getresponse().read() == b""
        connection.request("GET", "/b/o")
        assert connection.getresponse().read() == BODY
        connection.close()
        assert upstream.objects["/b/a//b%2Fc%20"] == BODY
        with FaultProxy(front.endpoint, Script(on(fp.ACCEPT, "", fp.ResetResponse(after=500))), raw=True) as proxy:
            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                certificate_problem(proxy, authority, "localhost")
            assert certificate_problem(proxy, authority, "localhost") is None
        fd = os.pidfd_open(pid)
    assert ended([fd])
    with TlsFront(work, upstream.endpoint, authority.issue(expired=True)) as front:
        assert certificate_problem(front, authority, "localhost") == "certificate has expired"
    with TlsFront(work, upstream.endpoint, stranger.issue()) as front:
        assert "unable to get local issuer" in certificate_problem(front, authority, "localhost")
    with TlsFront(work, upstream.endpoint, authority.issue(names=["DNS:example.org"])) as front:
        assert "mismatch" in certificate_problem(front, authority, "localhost")


# ----------------------------------------------------------------------------------------------- RGW

NEEDS_RGW = pytest.mark.skipif(
    not all(map(shutil.which, ("ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "ceph"))),
    reason="needs ceph-mon, ceph-mgr, ceph-osd, radosgw and ceph-common")


@NEEDS_RGW
def test_rgw(work):
    with Rgw(f"{work}/rgw") as server:
        pids = server.pids()
        assert len(pids) == 4
        assert {address for pid in pids.values() for address, _ in listening(pid)} == {"127.0.0.1"}
        bucket = server.create_bucket()
        with server.client(bucket) as client:
            check_objects(client)
            check_refusals(server, client)
        check_session(server, bucket)
        script = Script(on("PUT", "", fp.LostAnswer()), on("GET", "", fp.Truncate(100)))
        with FaultProxy(server.endpoint, script) as proxy:
            client = Client(proxy.endpoint, MAIN, bucket)
            with pytest.raises(ConnectionResetError):
                client.put("lost", BODY, {"If-None-Match": "*"})
            with pytest.raises(s3_client.S3Error) as caught:
                client.put("lost", BODY, {"If-None-Match": "*"})
            assert caught.value.status == 412
            with pytest.raises(http.client.IncompleteRead) as caught:
                client.get("lost")
            assert caught.value.partial == BODY[:100]
            assert client.get("lost") == BODY
            client.close()
        server.collect_garbage()
        fds = [os.pidfd_open(pid) for pid in server.pids().values()]
        begin = time.monotonic()
    assert time.monotonic() - begin < 2
    assert ended(fds)


def check_objects(client):
    name = "odd /ü+%&?=#~'\"\\\n"
    client.put("a/1", b"one")
    client.put(name, BODY * 6)
    assert client.get(name) == BODY * 6
    assert client.get(name, 5, 9) == BODY[5:10]
    assert client.keys_below() == sorted(["a/1", name])
    assert [each.key for each in client.list(max_keys=1)] == client.keys_below()
    assert client.list(start_after="a/1")[0].size == len(BODY) * 6
    assert client.head("a/1")["ETag"] == f'"{hashlib.md5(b"one").hexdigest()}"'
    assert client.put("sse", b"x", {"x-amz-server-side-encryption": "aws:kms",
                                    "x-amz-server-side-encryption-aws-kms-key-id": KMS_KEY_ID}).status == 200
    for key in client.keys_below():
        client.delete(key)
    assert client.list() == [] and client.head("a/1") is None and client.uploads() == []


def check_refusals(server, client):
    def refused(**kw):
        with pytest.raises(s3_client.S3Error) as caught:
            client.put("x", b"x", kw.pop("headers", None), **kw)
        return caught.value.status, caught.value.code
    client.put("there", b"x")
    assert refused(keys=MAIN._replace(access="NOBODY")) == (403, "InvalidAccessKeyId")
    assert refused(keys=MAIN._replace(secret="wrong")) == (403, "SignatureDoesNotMatch")
    assert refused(seconds=time.time() - 3600) == (403, "RequestTimeTooSkewed")
    assert refused(payload_hash=s3_client.EMPTY) == (400, "XAmzContentSHA256Mismatch")
    assert refused(keys=OTHER) == (403, "AccessDenied")
    with server.client(client.bucket, OTHER) as other:
        server.allow_other(client.bucket, "s3:GetObject")
        assert other.get("there") == b"x"
        with pytest.raises(s3_client.S3Error):
            other.list()
        with pytest.raises(s3_client.S3Error):
            other.create_bucket("of-other")
    server.allow_anyone(client.bucket, "s3:GetObject")
    with server.client(client.bucket, None) as anybody:
        assert anybody.get("there") == b"x"


def check_session(server, bucket):
    endpoint, keys = server.session()
    with Client(endpoint, keys, bucket) as client:
        client.put("by session", b"x")
        assert client.request("GET", f"/{bucket}/by session", keys=keys._replace(token=None)).status == 403
        assert client.request("GET", f"/{bucket}/by session", keys=keys._replace(token="x" + keys.token)).status == 400
    pids = server.pids()
    assert len(pids) == 5
    assert {address for pid in pids.values() for address, _ in listening(pid)} == {"127.0.0.1"}


def children_of(pid):
    found = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
            found |= set(map(int, file.read().split()))
    return found


@pytest.mark.slow
@NEEDS_RGW
def test_rgw_as_a_program(work):
    program = [sys.executable, f"{SUPPORT}/rgw.py", "--dir"]
    script = ("import os, sys; sys.path.insert(0, sys.argv[1]); from s3_client import Client, Keys;"
              "env = {k.removeprefix('THAW_TEST_S3_'): v for k, v in os.environ.items()};"
              "c = Client(env['ENDPOINT'], Keys(env['ACCESS_KEY'], env['SECRET_KEY']), env['BUCKET'], env['REGION']);"
              "c.put('k', b'v'); print(c.keys_below()); sys.exit(7)")
    done = subprocess.run([*program, f"{work}/one", "--env-file", f"{work}/env", "--",
                           sys.executable, "-c", script, SUPPORT], stdout=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stdout) == (7, b"['k']\n")
    with open(f"{work}/env", encoding="ascii") as file:
        names = {line.partition("=")[0] for line in file}
    assert {f"THAW_TEST_S3_{name}" for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET", "REGION")} <= names
    # Not a second time over the same files.
    done = subprocess.run([*program, f"{work}/one", "--", "true"], stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 125 and b"exists" in done.stderr

    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        server = subprocess.Popen([*program, f"{work}/{how.name}"], stdout=subprocess.PIPE)
        assert b"THAW_TEST_S3_" in server.stdout.readline()
        fds = [os.pidfd_open(pid) for pid in children_of(server.pid)]
        assert len(fds) == 4
        server.send_signal(how)
        server.communicate(timeout=10)
        assert server.returncode == (-how if how == signal.SIGKILL else 0)
        assert ended(fds)


def test_daemons_say_what_went_wrong(work):
    daemons = Daemons(f"{work}/log")
    with pytest.raises(StartError, match="answered 3: oops"):
        daemons.run("one", "sh", "-c", "echo oops; exit 3")
    assert daemons.run("one", "echo", "fine") == "fine\n"
    with pytest.raises(StartError, match="in time"):
        daemons.run("slow", "sleep", "60", timeout=0.1)
    daemons.start("two", "sh", "-c", "echo ended early; exit 4")
    with pytest.raises(StartError, match="two ended with 4: ended early"):
        daemons.wait_until_listening("two", 1)
    daemons.start("three", "sleep", "60")
    fds = [os.pidfd_open(daemons.pids()["three"])]
    daemons.stop()
    assert ended(fds)
