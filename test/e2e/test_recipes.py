"""The recipes of docs/recipes.md, taken from there as they are written; only places are put in their stead."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from driver import binary
from starts import PATIENCE_S, is_alive, python, wait_until
from trees import assert_same, small_tree, write

RECIPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/recipes.md")
HTTP = """
import http.server, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""


def blocks(heading, language):
    with open(RECIPES, encoding="utf-8") as file:
        text = file.read()
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S)


@pytest.fixture
def place(thaw, work):
    """thaw in the PATH, a store, a free port."""
    os.mkdir(f"{work}/bin")
    os.symlink(os.path.abspath(binary()), f"{work}/bin/thaw")
    thaw.env["PATH"] = f"{work}/bin:{thaw.env['PATH']}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        thaw.port = probe.getsockname()[1]
    return thaw


def with_places(text, thaw, work):
    return (text.replace("s3://BUCKET/PREFIX?region=REGION", thaw.store).replace("/data/deps", f"{work}/deps")
            .replace("127.0.0.1:3000", f"127.0.0.1:{thaw.port}"))


def events_of(path):
    try:
        with open(path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]
    except FileNotFoundError:
        return []


def shell(thaw, script, *words, **env):
    return subprocess.run(["sh", "-c", script, "recipe", *words], env={**thaw.env, **env}, cwd=thaw.cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=PATIENCE_S, check=False)


def test_a_plain_shell_runner(place, work):
    wrapping, by_hand = blocks("A plain shell runner", "sh")
    job = {"THAW_STORE": place.store, "JOB_NAME": "build", "JOB_DIR": f"{work}/job"}
    os.mkdir(f"{work}/job")
    make = f"mkdir -p {work}/job/deps; echo made >> {work}/job/deps/file; exit 3"
    done = shell(place, wrapping, "sh", "-c", make, **job)
    assert done.returncode == 3, done
    done = shell(place, wrapping, "sh", "-c", make.replace("exit 3", "exit 0"), **job)
    assert done.returncode == 0 and events_of(f"{work}/job/thaw.events")[-2]["reason"] == "saved", done
    shutil.rmtree(f"{work}/job/deps")
    os.unlink(f"{work}/job/thaw.events")

    done = shell(place, by_hand, "cat", f"{work}/job/deps/file", **job)
    assert done.returncode == 0 and b"made\nmade\n" in done.stdout, done
    saved = wait_until(lambda: [each for each in events_of(f"{work}/job/thaw.events") if each["event"] == "save"], "it is saved")
    assert saved[0]["reason"] == "unchanged"


def test_an_init_container_and_a_sidecar(place, work):
    yaml = pytest.importorskip("yaml")
    pod = yaml.safe_load(with_places(*blocks("Kubernetes: an init container and a sidecar, for an image without thaw", "yaml"), place, work))
    restore, save = (each["args"] for each in pod["spec"]["initContainers"])
    assert subprocess.run(restore, env=place.env, cwd=place.cwd, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=True)
    server = subprocess.Popen(python(HTTP, str(place.port)), env=place.env)
    small_tree(f"{work}/deps", files=5)
    sidecar = subprocess.Popen(save, env=place.env, cwd=place.cwd, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: place.ok("ls")["keys"], "it is saved")
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(PATIENCE_S) == 143
    finally:
        server.kill()
        server.wait()
        sidecar.kill()
        sidecar.wait()
    os.rename(f"{work}/deps", f"{work}/before")
    subprocess.run(restore, env=place.env, cwd=place.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=PATIENCE_S, check=True)
    assert_same(f"{work}/before", f"{work}/deps")


def test_a_wrapped_container(place, work):
    yaml = pytest.importorskip("yaml")
    pod = yaml.safe_load(with_places(*blocks("Kubernetes: wrapped, with Pod Identity", "yaml"), place, work))
    command = pod["spec"]["containers"][0]["command"]
    small_tree(f"{work}/deps", files=5)
    server = subprocess.Popen([*command, *python(HTTP, str(place.port))], env=place.env, cwd=place.cwd, stdin=subprocess.DEVNULL)
    try:
        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", place.port)) == 0
        wait_until(answers, "the server is up")
        wait_until(lambda: place.ok("ls")["keys"], "it is saved")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 143
    finally:
        server.kill()
        server.wait()


NOTIFY = """
import os, signal, socket
place = os.environ["NOTIFY_SOCKET"]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1", "\\0" + place[1:])
signal.pause()
"""


def test_a_systemd_unit(place, work):
    (unit,) = blocks("systemd, Type=notify", "ini")
    if shutil.which("systemd-analyze"):
        write(f"{work}/shop.service", with_places(unit, place, work).replace("/usr/local/bin/thaw", f"{work}/bin/thaw")
              .replace("/usr/local/bin/shop-server", "/bin/true").encode())
        checked = subprocess.run(["systemd-analyze", "verify", f"{work}/shop.service"], capture_output=True, timeout=PATIENCE_S, check=False)
        assert b"shop.service" not in checked.stderr, checked
    command = re.search(r"^ExecStart=(.*?[^\\])$", unit, re.M | re.S).group(1).replace("\\\n", " ").split()
    assert command[0] == "/usr/local/bin/thaw" and command[-1] == "/usr/local/bin/shop-server"
    small_tree(f"{work}/deps", files=5)
    words = [binary(), *(each.replace("/var/lib/shop/deps", f"{work}/deps") for each in command[1:-1]), *python(NOTIFY)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{work}/notify")
        systemd.settimeout(PATIENCE_S)
        service = subprocess.Popen(words, env={**place.env, "THAW_STORE": place.store, "NOTIFY_SOCKET": f"{work}/notify"}, cwd=place.cwd,
                                   stdin=subprocess.DEVNULL)
        try:
            assert systemd.recv(100) == b"READY=1"
            wait_until(lambda: place.ok("ls")["keys"], "it is saved")
            service.send_signal(signal.SIGTERM)
            assert service.wait(PATIENCE_S) == 143
        finally:
            service.kill()
            service.wait()


def test_a_warm_pool(place, work):
    make, hand_out = blocks("A warm pool", "sh")
    tree = small_tree(f"{work}/tree", files=5)
    place.save("shop", tree)
    os.mkfifo(f"{work}/config")
    places = {"/usr/local/bin/sandbox-server": "sleep 1000", "/run/thaw.events": f"{work}/events", "/run/shop/ready": f"{work}/ready",
              "/srv/deps": f"{work}/deps"}
    for old, new in places.items():
        make, hand_out = make.replace(old, new), hand_out.replace(old, new)
    pool = subprocess.Popen(["sh", "-c", "exec " + make.split("\n", 1)[1]], env={**place.env, "CONFIG": f"{work}/config"}, cwd=place.cwd,
                            stdin=subprocess.DEVNULL)
    try:
        started = wait_until(lambda: [each for each in events_of(f"{work}/events") if each["event"] == "started"], "it waits")
        shell(place, hand_out, CONFIG=f"{work}/config", STORE=place.store, KEY="shop")
        wait_until(lambda: [each for each in events_of(f"{work}/events") if each["event"] == "restore"], "it has its tree")
        assert_same(tree, f"{work}/deps")
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(PATIENCE_S) == 143 and not is_alive(started[0]["pid"])
    finally:
        pool.kill()
        pool.wait()
