"""The binary on a bucket of a real S3 server: what it does in a folder it does there too."""

import json
import os
import random
import socket

import pytest

from driver import Thaw
from fault_proxy import FaultProxy
from rgw import KMS_KEY_ID
from tls_front import Authority, TlsFront
from trees import assert_same, describe, small_tree, write


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


# --------------------------------------------------------------------------------------- every command

def test_save_restore_and_all_others(s3, work, tree):
    first = s3.save("a/b", tree, "--label", "run=1")
    assert (first["generation"], first["files"]) == (1, 12)
    assert s3.restore("a/b", f"{work}/out")["hit"] == "exact"
    assert_same(tree, f"{work}/out")

    write(f"{tree}/d0/new", b"new" * 1000)
    second = s3.save("a/b", tree)
    assert second["generation"] == 2 and second["snapshot"] != first["snapshot"]
    assert second["new_bytes"] < first["new_bytes"]
    assert [(each["key"], each["generation"]) for each in s3.ok("ls")["keys"]] == [("a/b", 2)]
    assert s3.ok("ls", "a")["keys"] and not s3.ok("ls", "a/b2")["keys"]
    shown = s3.ok("inspect", "a/b@1")
    assert shown["snapshot"] == first["snapshot"] and shown["labels"] == {"run": "1"}
    assert s3.run("diff", "a/b@1", "a/b@2", "--exit-code").code == 1
    s3.clean()

    s3.ok("rm", "a/b@1", "--yes")
    s3.fails(3, "restore", "a/b@1", f"{work}/none")
    s3.restore("a/b@2", f"{work}/two")
    assert_same(tree, f"{work}/two")
    s3.ok("rm", "a/b", "--yes")
    assert s3.ok("ls")["keys"] == []
    assert s3.save("a/b", tree)["generation"] == 3, "numbers are never used again"
    assert s3.objects("leases/") == [] and s3.client.uploads() == []


def test_ids_are_those_of_the_embedded_store(s3, work, tree):
    local = Thaw(f"{work}/local")
    names = ("snapshot", "content", "files", "dirs", "bytes", "stored_bytes", "new_bytes")
    one, other = local.save("k", tree), s3.save("k", tree)
    assert [one[name] for name in names] == [other[name] for name in names]
    assert local.store != s3.store and len(local.objects()) == len(s3.objects())


def test_unchanged(s3, tree):
    s3.save("k", tree)
    before = s3.objects()
    answer = s3.save("k", tree)
    assert answer["reason"] == "unchanged" and answer["generation"] == 1
    assert s3.objects() == before


def test_a_miss(s3, work, tree):
    s3.fails(3, "restore", "k", f"{work}/out")
    s3.save("k", tree)
    for words in (["restore", "k@2", f"{work}/out"], ["restore", "k2", f"{work}/out"], ["inspect", "K"], ["rm", "kk", "--yes"]):
        assert s3.fails(3, *words)["reason"] == "miss"
    assert not os.path.exists(f"{work}/out")


def test_fallback_also_base(s3, work, tree):
    s3.save("main", tree, "--also", "nightly/1")
    assert s3.restore("nightly/1", f"{work}/one")["hit"] == "exact"
    hit = s3.restore("branch", f"{work}/two", "--fallback", "none", "--fallback", "main")
    assert hit["hit"] == "fallback" and hit["key"] == "main"
    assert_same(tree, f"{work}/one")
    assert_same(tree, f"{work}/two")
    write(f"{tree}/more", b"more")
    based = s3.save("branch", tree, "--base", "main", "--no-stat-cache")
    assert based["new_bytes"] < 100
    s3.restore("branch", f"{work}/three")
    assert_same(tree, f"{work}/three")
    s3.clean()


def test_two_savers_of_one_key(s3, work):
    trees = [small_tree(f"{work}/tree{i}", seed=i, files=10) for i in range(4)]
    processes = [s3.start("save", "k", each) for each in trees]
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out, err)
        answers.append(json.loads(out))
    assert sorted(each["generation"] for each in answers) == [1, 2, 3, 4]
    for answer, each in zip(answers, trees):
        s3.restore(f"k@{answer['generation']}", f"{work}/out")
        assert_same(each, f"{work}/out")
    s3.clean()


def test_large_files_and_packs(s3, work):
    rng = random.Random(7)
    write(f"{work}/tree/large", rng.randbytes(40 << 20))
    write(f"{work}/tree/copy", b"\0" * (3 << 20) + b"end")
    s3.save("k", f"{work}/tree")
    assert len(s3.objects("packs/")) >= 2
    s3.restore("k", f"{work}/out")
    assert_same(f"{work}/tree", f"{work}/out")
    s3.clean()


# ------------------------------------------------------------------------------------- names and places

@pytest.mark.parametrize("key", [
    "ünï/çødé", "with space", "a+b", "a%2fb", "100%", "q?x=1&y", "#1", "a:b;c", "'\"<>&", "~", "*", "a=b,c", "[x]", "{y}|^`$!"])
def test_keys_with_odd_bytes(s3, work, tree, key):
    s3.save(key, tree)
    s3.save("plain", tree)
    assert [each["key"] for each in s3.ok("ls")["keys"]] == sorted([key, "plain"], key=lambda each: each.encode())
    s3.restore(key, f"{work}/out")
    assert_same(tree, f"{work}/out")
    s3.ok("rm", key, "--yes")
    s3.fails(3, "inspect", key)
    s3.ok("inspect", "plain")


@pytest.mark.parametrize("prefix", ["", "p", "deep/er/st/ore", "odd +%25&", "%C3%BC"])
def test_prefixes(s3, work, tree, prefix):
    s3.client.put("neighbour", b"x")
    s3.client.put("keys/k/@/fffffffffffffffd" if prefix else "other/x", b"x")
    s3.use(prefix=prefix)
    s3.save("k", tree)
    s3.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
    assert [each["key"] for each in s3.ok("ls")["keys"]] == ["k"]
    s3.clean()


def test_stores_in_one_bucket_share_nothing(s3, work, tree):
    s3.save("k", tree)
    s3.use(prefix="st/ore2")
    s3.fails(3, "restore", "k", f"{work}/out")
    s3.use(prefix="st")
    assert s3.ok("ls")["keys"] == []


@pytest.mark.parametrize("addressing", ["path", "virtual", "auto"])
def test_addressing(s3, work, tree, addressing):
    with s3.through() as proxy:
        # The server knows this name as its own, and *.localhost is loopback everywhere.
        s3.use(proxy.endpoint.replace("127.0.0.1", "localhost"), addressing=addressing)
        direct = s3.url(s3.server.endpoint.replace("127.0.0.1", "localhost"), addressing=addressing)
        s3.env["THAW_STORE"] = direct
        s3.save("k", tree)
        s3.restore("k", f"{work}/out")
        s3.use(proxy.endpoint.replace("127.0.0.1", "localhost"), addressing=addressing)
        s3.run("ls")
        asked = proxy.log()[0]
    assert_same(tree, f"{work}/out")
    virtual = addressing == "virtual"
    assert asked.headers["host"].startswith(s3.bucket + ".localhost") is virtual
    assert asked.path.startswith("/" + s3.bucket) is not virtual


# ------------------------------------------------------------------------------------------- requests

def test_requests_of_a_small_restore(s3, work):
    tree = small_tree(f"{work}/tree", files=6)
    s3.save("k", tree)
    with s3.through() as proxy:
        answer = s3.restore("k", f"{work}/out")
        asked = [(each.method, each.status) for each in proxy.log()]
    assert len(asked) <= 3 and answer["requests"] == len(asked), asked
    assert_same(tree, f"{work}/out")


def test_requests_with_a_manifest_of_its_own(s3, work):
    """Ten files whose names and attributes do not fit into an entry."""
    rng = random.Random(3)
    for i in range(10):
        path = f"{work}/tree/" + "/".join(rng.randbytes(100).hex() for _ in range(15)) + f"/f{i}"
        write(path, rng.randbytes(100))
        os.setxattr(path, "user.note", rng.randbytes(4000))
    s3.save("k", f"{work}/tree")
    assert len(s3.objects("manifests/")) == 1, "the tree's manifest travels in its entry"
    with s3.through() as proxy:
        answer = s3.restore("k", f"{work}/out")
        asked = [(each.method, each.path, each.status) for each in proxy.log()]
    assert len(asked) <= 4 and answer["requests"] == len(asked), asked
    assert_same(f"{work}/tree", f"{work}/out")


def test_connections_are_kept(s3, work, tree):
    with s3.through() as proxy:
        s3.save("k", tree)
        assert len(proxy.log()) >= 6 and proxy.connections <= 3


# ------------------------------------------------------------------------------------------------ TLS

@pytest.fixture
def authority(work):
    return Authority(work)


def test_tls(s3, work, tree, authority):
    with TlsFront(work, s3.server.endpoint, authority.issue()) as front:
        s3.use(front.endpoint, ca_file=authority.certificate)
        s3.save("k", tree)
        s3.restore("k", f"{work}/out")
        assert_same(tree, f"{work}/out")
        # The same by the configuration.
        s3.use(front.endpoint)
        s3.ok("ls", *s3.config({"s3": {"ca_file": authority.certificate}}))


@pytest.mark.parametrize("case", ["unknown", "other_authority", "expired", "other_name"])
def test_certificates_that_are_refused(s3, work, tree, authority, case):
    """After the handshake nothing is sent: neither names nor data."""
    certificate = authority.issue(expired=case == "expired", names=("DNS:elsewhere.example",) if case == "other_name"
                                  else ("IP:127.0.0.1", "DNS:localhost"))
    trusted = {"unknown": None, "other_authority": Authority(work, "another").certificate}.get(case, authority.certificate)
    with s3.through() as behind, TlsFront(work, behind.endpoint, certificate) as front:
        s3.use(front.endpoint, ca_file=trusted)
        for words in (["save", "k", tree], ["restore", "k", f"{work}/out"], ["ls"]):
            answer = s3.fails(1, *words)
            assert answer["reason"] == "denied" and "certificate" in answer["message"], answer
            assert answer["ms"] < 1500, "it was tried again"
        assert behind.log() == []


def test_a_ca_file_that_is_none(s3, work, tree, authority):
    with TlsFront(work, s3.server.endpoint, authority.issue()) as front:
        for path in (f"{work}/missing.pem", f"{tree}/copy"):
            s3.use(front.endpoint, ca_file=path)
            answer = s3.run("ls")
            assert answer.code in (1, 2) and path in answer["message"], answer


def test_old_protocols_are_refused(s3, work, authority):
    with TlsFront(work, s3.server.endpoint, authority.issue(), protocols="TLSv1.1") as front:
        s3.use(front.endpoint, ca_file=authority.certificate)
        answer = s3.fails(1, "ls", *s3.quick())
        assert answer["reason"] in ("unavailable", "denied"), answer


def test_plain_http_where_tls_was_meant(s3, work):
    s3.use(s3.server.endpoint.replace("http://", "https://"))
    assert s3.fails(1, "ls", *s3.quick())["reason"] in ("unavailable", "denied")


# --------------------------------------------------------------------------------------- on the way there

def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_ipv6(s3, work, tree):
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    with FaultProxy(s3.server.endpoint, host="::1") as proxy:
        s3.use(proxy.endpoint)
        assert "[::1]" in s3.env["THAW_STORE"]
        s3.save("k", tree)
        s3.restore("k", f"{work}/out")
        assert len(proxy.log()) > 5
    assert_same(tree, f"{work}/out")


def test_proxy_variables(s3, work, tree):
    """The fault proxy also takes requests as an HTTP proxy does, and CONNECT for TLS."""
    with FaultProxy(s3.server.endpoint) as proxy:
        s3.use("http://s3.example.invalid")  # only the proxy finds it
        asked = s3.run("ls", env={"http_proxy": proxy.endpoint})
        assert proxy.log()[0].headers["host"] == "s3.example.invalid", asked
        proxy.forget()
        s3.use()
        s3.ok("ls", env={"http_proxy": proxy.endpoint})
        assert len(proxy.log()) > 0
        proxy.forget()
        for no_proxy in ("127.0.0.1", "*", "localhost,127.0.0.1"):
            s3.ok("ls", env={"http_proxy": proxy.endpoint, "no_proxy": no_proxy})
        # CGI's environment lets a client set this one.
        s3.ok("ls", env={"HTTP_PROXY": proxy.endpoint})
        assert proxy.log() == []


def test_tls_through_a_proxy(s3, work, tree, authority):
    with TlsFront(work, s3.server.endpoint, authority.issue()) as front, \
            FaultProxy(front.endpoint.replace("https", "http")) as proxy:
        s3.use(front.endpoint, ca_file=authority.certificate)
        s3.save("k", tree, env={"https_proxy": proxy.endpoint})
        assert {each.method for each in proxy.log()} == {"CONNECT"}
    s3.use()
    s3.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")


def test_a_proxy_that_is_not_there(s3):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = s3.fails(1, "ls", *s3.quick(), env={"http_proxy": f"http://127.0.0.1:{taken.getsockname()[1]}"})
    assert answer["reason"] == "unavailable", answer


# ---------------------------------------------------------------------------------------- the bucket's own

def test_server_side_encryption(s3, work, tree):
    s3.use(sse="aws:kms", sse_key_id=KMS_KEY_ID)
    s3.save("k", tree)
    for name in s3.objects():
        headers = s3.client.head(f"{s3.prefix}/{name}")
        assert headers["x-amz-server-side-encryption"] == "aws:kms", name
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == KMS_KEY_ID, name
    s3.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")


def test_an_encryption_that_the_server_does_not_know(s3, tree):
    s3.use(sse="aws:kms", sse_key_id="no-such-key")
    s3.fails(1, "save", "k", tree)
    assert s3.objects("keys/") == []


def test_a_public_bucket(s3, work, tree):
    s3.save("k", tree)
    s3.server.allow_anyone(s3.bucket, "s3:GetObject", "s3:ListBucket")
    for name in list(s3.env):
        if name.startswith("AWS_") and "METADATA" not in name:
            del s3.env[name]
    with s3.through() as proxy:
        s3.use(proxy.endpoint, anonymous="true")
        s3.restore("k", f"{work}/out")
        assert s3.ok("ls")["keys"]
        assert not any("authorization" in each.headers for each in proxy.log())
    assert_same(tree, f"{work}/out")
    s3.use(anonymous="true")
    assert s3.fails(1, "save", "k2", tree)["reason"] == "denied"
    s3.use()
    answer = s3.fails(1, "ls")
    assert answer["reason"] == "denied" and "AWS_ACCESS_KEY_ID" in answer["message"], answer


def test_readers_need_no_write_permission(s3, work, tree):
    s3.save("k", tree)
    s3.server.allow_other(s3.bucket, "s3:GetObject", "s3:ListBucket")
    other = s3.server.keys["other"]
    reader = {"AWS_ACCESS_KEY_ID": other.access, "AWS_SECRET_ACCESS_KEY": other.secret}
    s3.restore("k", f"{work}/out", env=reader)
    assert_same(tree, f"{work}/out")
    for words in (["ls"], ["inspect", "k"], ["verify"]):
        s3.ok(*words, env=reader)
    objects = s3.objects()
    for words in (["save", "k2", tree], ["rm", "k", "--yes"]):
        assert s3.fails(1, *words, env=reader)["reason"] == "denied"
    assert s3.objects() == objects


@pytest.mark.parametrize("case", ["bucket", "endpoint", "access_key", "secret", "no_list"])
def test_wrong_settings(s3, work, tree, case):
    s3.save("k", tree)
    before, env, words = describe(tree), {}, s3.quick()
    if case == "bucket":
        s3.use(bucket="no-such-bucket")
    elif case == "endpoint":
        s3.use("http://127.0.0.1:1")
    elif case == "access_key":
        env = {"AWS_ACCESS_KEY_ID": "AKIANOTKNOWN00000000"}
    elif case == "secret":
        env = {"AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    else:
        s3.server.allow_other(s3.bucket, "s3:GetObject", "s3:PutObject")
        other = s3.server.keys["other"]
        env = {"AWS_ACCESS_KEY_ID": other.access, "AWS_SECRET_ACCESS_KEY": other.secret}
    reason, hint = {
        "bucket": ("invalid", "bucket's name"), "endpoint": ("unavailable", "127.0.0.1:1"),
        "access_key": ("denied", "does not know this access key"), "secret": ("denied", "does not fit"),
        "no_list": ("denied", "doctor")}[case]
    for verb in (["restore", "k", tree], ["save", "k", tree], ["ls"], ["inspect", "k"], ["verify"]):
        answer = s3.fails(1, *verb, *words, env=env)
        assert answer["reason"] == reason and hint in answer["message"], answer
        assert "not-the-secret" not in answer.err.decode() + answer.out.decode()
    assert_same(before, tree)


def test_a_store_of_a_newer_format(s3, work, tree):
    s3.client.put("st/ore/thaw.json", b'{"kind":"thaw-store","format":99}\n')
    answer = s3.fails(1, "save", "k", tree)
    assert "99" in answer["message"], answer
    assert s3.objects() == ["thaw.json"]
