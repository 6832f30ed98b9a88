"""What the end-to-end and the fault tests share. Each test gets a folder, and a thaw with its state in it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "support")
sys.path.insert(0, SUPPORT)

from bucket import BucketThaw  # noqa: E402
from driver import Thaw  # noqa: E402
from rgw import Rgw, Server  # noqa: E402
from trees import remove  # noqa: E402


def pytest_configure(config):
    if "THAW" not in os.environ:
        raise pytest.UsageError("THAW is not set: it names the binary to test (./dev test e2e)")
    os.umask(0o022)


def in_memory():
    """Where files cost no disk; the suite syncs them by the thousand."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return None
    return "/dev/shm" if room.f_bavail * room.f_frsize > (1 << 30) and os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def work(request):
    """An empty folder with a short path, removed afterwards. In memory, unless the module says ON_DISK."""
    place = None if getattr(request.module, "ON_DISK", False) else in_memory()
    path = os.path.realpath(tempfile.mkdtemp(prefix="thaw-e2e.", dir=place))
    os.chmod(path, 0o755)
    yield path
    remove(path)


@pytest.fixture
def thaw(work):
    return Thaw(work)


@pytest.fixture
def as_root():
    if os.geteuid() != 0:
        pytest.skip("needs root")


def sanitized():
    return os.path.basename(os.path.dirname(os.path.realpath(os.environ["THAW"]))) in ("asan", "tsan")


@pytest.fixture
def shipped_memory():
    """For tests that compare a peak of memory: the sanitizers keep what is freed for a while, and shadows of it all."""
    if sanitized():
        pytest.skip("the memory of a sanitizer says nothing")


@pytest.fixture(scope="session")
def interposer():
    """The shared object of support/interpose.c."""
    if sanitized():
        pytest.skip("the sanitizers want to be the first library that is loaded")
    folder = tempfile.mkdtemp(prefix="thaw-interpose.")
    path = os.path.join(folder, "interpose.so")
    compiler = os.environ.get("CC", "gcc")
    try:
        done = subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-Wall", "-o", path,
             os.path.join(SUPPORT, "interpose.c"), "-ldl"],
            stderr=subprocess.PIPE, check=False)
    except FileNotFoundError:
        pytest.skip(f"no {compiler}")
    assert done.returncode == 0, done.stderr.decode()
    yield path
    remove(folder)


@contextlib.contextmanager
def an_rgw():
    if not shutil.which("radosgw"):
        pytest.skip("no radosgw here (./dev deps test)")
    folder = tempfile.mkdtemp(prefix="thaw-rgw.", dir=in_memory())
    try:
        with Rgw(folder) as server:
            yield server
    finally:
        remove(folder)


@pytest.fixture(scope="session")
def s3_server():
    """The S3 server that `./dev test` has started, or one of our own."""
    server = Server.of_environment()
    with contextlib.nullcontext(server) if server else an_rgw() as found:
        yield found


@pytest.fixture(scope="session")
def own_rgw():
    """A server that nobody else uses, for what only its own process can do: sessions, an administrator's commands."""
    with an_rgw() as server:
        yield server


@pytest.fixture
def s3(work, s3_server):
    """thaw with a new bucket."""
    thaw = BucketThaw(work, s3_server)
    yield thaw
    thaw.close()
