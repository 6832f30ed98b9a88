"""--timeout bounds the whole command, whatever hangs: it ends within the bound and half a second, says `timeout`, and
the target is as it was."""

import contextlib
import os
import random
import socket
import subprocess
import time

import pytest

from aws_services import ContainerService, MetadataService, TokenService
from fault_proxy import FaultProxy
from faults import ACCEPT, Blackhole, Drip, DripHead, Error, Late, Script, Stall, on
from trees import assert_same, describe, small_tree, write

pytestmark = pytest.mark.alone

BOUND_S, GRACE_S = 1.0, 0.5
COMMANDS = ["save", "restore", "ls"]
PATIENT = {"s3": {"stall_timeout": "60s", "connect_timeout": "60s"}}  # nothing but the deadline ends it


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


@pytest.fixture
def target(work):
    return small_tree(f"{work}/target", seed=2, files=5)


def ends_in_time(thaw, command, tree, target, *words, env=None, bound_s=BOUND_S):
    """Once more where the machine was too busy: a deadline that is not kept is late every time."""
    before = describe(target)
    verb = {"save": ["save", "k", tree], "restore": ["restore", "k", target], "ls": ["ls"]}[command]
    verb += ["--timeout", f"{bound_s:g}s", *thaw.config(PATIENT), *words]
    for attempt in (1, 2):
        began = time.monotonic()
        answer = thaw.run(*verb, env=env, timeout=30)
        took = time.monotonic() - began
        if took <= bound_s + GRACE_S or attempt == 2:
            break
    print(f"{command}: {took:.3f} s of {bound_s:g}")
    assert took <= bound_s + GRACE_S, answer
    assert took >= bound_s * 0.9, answer
    assert answer.code == (0 if "--advisory" in words else 1), answer
    assert answer["ok"] is False and answer["reason"] == "timeout" and answer["message"], answer
    assert answer.err, answer
    assert_same(before, target)
    assert [each for each in os.listdir(os.path.dirname(target)) if each.startswith(".thaw-stage-")] == []
    return answer


# ------------------------------------------------------------------------------------ a server that hangs

HANGING = {
    "silent_connection": on(ACCEPT, "", Blackhole(), times=None),
    "silent_server": on(None, "", Blackhole(), times=None),
    "deaf_server": on(None, "", Blackhole(deaf=True), times=None),
    "slow_first_byte": on(None, "", Stall(20), times=None),
    "dripping_body": on(None, "", Drip(1, 0.2), times=None),
    "dripping_head": on(None, "", DripHead(0.2), times=None),
}


@pytest.mark.parametrize("advisory", [False, True], ids=["binding", "advisory"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", HANGING)
def test_a_server_that_hangs(s3, tree, target, name, command, advisory):
    s3.save("k", tree)
    step = HANGING[name]
    with s3.through(on(step.method, step.path, step.fault, times=None)):
        write(f"{tree}/new", b"so that there is something to save")
        ends_in_time(s3, command, tree, target, *["--advisory"] * advisory)
    assert len(s3.objects("keys/k/@/")) == 1


@pytest.mark.parametrize("method, path", [
    ("GET", "/thaw.json"), ("PUT", "/leases/"), ("PUT", "/packs/"), ("GET", "list-type=2"), ("PUT", "/keys/"),
    ("HEAD", "/leases/")])
def test_each_step_of_a_save(s3, tree, target, method, path):
    with s3.through(on(method, path, Blackhole(), times=None)):
        ends_in_time(s3, "save", tree, target)
    if path != "/leases/":  # then it is published, or not at all
        assert s3.objects("keys/k/@/") == []


def test_what_cleans_up_hangs_too(s3, tree, target):
    """Taking the lease back has its own short time, after the deadline: still a message that says what hung, and a
    line in the log."""
    with s3.through(on("GET", "list-type=2", Blackhole(), times=None), on("DELETE", "", Blackhole(), times=None)):
        answer = ends_in_time(s3, "save", tree, target)
    assert "list" in answer["message"], answer


@pytest.mark.parametrize("method, path", [("GET", "list-type=2"), ("GET", "/keys/"), ("GET", "/packs/")])
def test_each_step_of_a_restore(s3, tree, target, method, path):
    s3.save("k", tree)
    with s3.through(on(method, path, Blackhole(), times=None)):
        ends_in_time(s3, "restore", tree, target)


@pytest.mark.parametrize("fault", [Stall(60, at=100_000), Drip(10_000, 0.05), Stall(60, at=0)], ids=repr)
def test_in_the_middle_of_large_bodies(s3, work, target, fault):
    """Some packs come in full, some do not."""
    for i in range(6):
        write(f"{work}/large/f{i}", random.Random(i).randbytes(5 << 20))
    s3.save("k", f"{work}/large")
    with s3.through(on("GET", "/packs/", fault, times=None, skip=1)):
        ends_in_time(s3, "restore", None, target, bound_s=2)


def test_in_the_middle_of_an_upload(s3, work, target):
    for i in range(6):
        write(f"{work}/large/f{i}", random.Random(i).randbytes(5 << 20))
    with s3.through(bytes_per_s=200_000):
        ends_in_time(s3, "save", f"{work}/large", target, bound_s=2)
    assert s3.objects("keys/") == []


def test_while_waiting_to_try_again(s3, tree, target):
    """A wait that fits into what is left is waited for, the next one too, until time is up."""
    with s3.through(on(None, "", Error("SlowDown"), times=None)):
        s3.save("other", tree, env={"THAW_STORE": s3.url()})
        before = describe(target)
        began = time.monotonic()
        answer = s3.fails(1, "restore", "k", target, "--timeout", "1s",
                          *s3.config({"retry": {"base": "10s", "cap": "10s", "attempts": 100}}))
        assert time.monotonic() - began < BOUND_S + GRACE_S
        assert answer["reason"] in ("timeout", "unavailable"), answer
        assert_same(before, target)


def test_a_late_entry_is_no_second_generation(s3, work, tree, target):
    """The put of the entry reaches the server after the command's end: then the save is there, once."""
    with s3.through(on("PUT", "/keys/", Late(None, silent=True), times=None)) as proxy:
        ends_in_time(s3, "save", tree, target)
        proxy.release()
    assert len(s3.objects("keys/k/@/")) == 1
    s3.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")


# ------------------------------------------------------------------------------------------- on the way

@contextlib.contextmanager
def blackholed():
    """A URL on loopback where connecting never ends: nobody accepts, and the queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.settimeout(0.1)
            try:
                client.connect(address)
            except TimeoutError:
                break
        else:
            pytest.skip("the kernel takes any number of connections")
        yield f"http://127.0.0.1:{address[1]}"


@pytest.mark.parametrize("advisory", [False, True], ids=["binding", "advisory"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_blackholed_address(s3, tree, target, command, advisory):
    with blackholed() as endpoint:
        s3.use(endpoint)
        ends_in_time(s3, command, tree, target, *["--advisory"] * advisory)


def test_a_blackholed_address_without_a_deadline(s3, tree):
    """The connection's own limit ends it, and each attempt is of that length."""
    with blackholed() as endpoint:
        s3.use(endpoint)
        answer = s3.fails(1, "ls", *s3.config({"retry": {"attempts": 2, "base": "10ms"}, "s3": {"connect_timeout": "300ms"}}))
    assert answer["reason"] == "unavailable" and 600 <= answer["ms"] < 3000, answer


@pytest.fixture
def silent_names(as_root, work, monkeypatch):
    """The machine's name server is one that never answers, for thaw alone."""
    resolver = f"{work}/resolv.conf"
    with open(resolver, "w", encoding="ascii") as file:
        file.write("nameserver 127.0.77.53\noptions timeout:30 attempts:5\n")
    script = f"{work}/thaw-without-names"
    with open(script, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {resolver} /etc/resolv.conf && exec \"$@\"' - "
                   f"{os.environ['THAW']} \"$@\"\n")
    os.chmod(script, 0o755)
    if subprocess.run(["unshare", "-m", "mount", "--bind", resolver, "/etc/resolv.conf"], check=False).returncode:
        pytest.skip("no mounts here")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.77.53", 53))
        monkeypatch.setenv("THAW", script)
        yield sink


@pytest.mark.parametrize("advisory", [False, True], ids=["binding", "advisory"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_server_that_never_answers(s3, tree, target, silent_names, command, advisory):
    s3.use("http://bucket.example.com:8000")
    ends_in_time(s3, command, tree, target, *["--advisory"] * advisory)
    silent_names.setblocking(False)
    assert b"bucket" in silent_names.recv(4096), "it was not asked"


# ------------------------------------------------------------------------------------------ credentials

@contextlib.contextmanager
def stalled_credentials(s3, work, kind):
    """Variables of a source that hangs."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        del s3.env[name]
    service = {"container": ContainerService, "instance": MetadataService, "sts": lambda: TokenService(work)}[kind]()
    with service, FaultProxy(service.endpoint, Script(on(None, "", Blackhole(), times=None))) as proxy:
        if kind == "container":
            yield {"AWS_CONTAINER_CREDENTIALS_FULL_URI": proxy.endpoint + service.path}
        elif kind == "sts":
            yield {"AWS_ENDPOINT_URL_STS": proxy.endpoint, "AWS_ROLE_ARN": service.role, "AWS_ROLE_SESSION_NAME": "test",
                   "AWS_WEB_IDENTITY_TOKEN_FILE": service.token_file, "AWS_EC2_METADATA_DISABLED": "true"}
        else:
            yield {"AWS_EC2_METADATA_SERVICE_ENDPOINT": proxy.endpoint}


@pytest.mark.parametrize("advisory", [False, True], ids=["binding", "advisory"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["container", "sts"])
def test_credentials_that_hang(s3, work, tree, target, kind, command, advisory):
    with stalled_credentials(s3, work, kind) as variables:
        ends_in_time(s3, command, tree, target, *["--advisory"] * advisory, env=variables)


def test_an_instance_that_hangs(s3, work, tree, target):
    """It is given a second, as it is absent on most machines; the chain then ends without credentials."""
    with stalled_credentials(s3, work, "instance") as variables:
        ends_in_time(s3, "restore", tree, target, env=variables, bound_s=0.5)
