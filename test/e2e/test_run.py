"""thaw run: restored before COMMAND, saved behind it; and COMMAND as if it had been started alone."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys

import pytest

from driver import binary, stages_in
from starts import Start, children_of, is_alive, python, run, wait_until
from trees import assert_same, describe, remove, small_tree, write


@pytest.fixture
def tree(work):
    return small_tree(f"{work}/tree", files=10)


@pytest.fixture
def store(thaw):
    """Named, as `run` wants it."""
    thaw.env["THAW_STORE"] = thaw.store
    return thaw.store


def keep(thaw, key, path):
    return thaw.save(key, path)


def generation(thaw, key):
    listed = {each["key"]: each["generation"] for each in thaw.ok("ls")["keys"]}
    return listed.get(key, 0)


# ------------------------------------------------------------------------------------------- restore

def test_command_finds_its_tree(thaw, work, store, tree):
    saved = keep(thaw, "k", tree)
    done = run(thaw, "--key", "k", "--path", f"{work}/out", command=["ls", f"{work}/out"])
    want = describe(tree)
    assert done.code == 0 and done.out.decode().split() == sorted(os.listdir(tree), key=os.fsencode)
    assert done.steps() == ["restore", "started", "exit"]
    event = done.of("restore")[0]
    assert event["ok"] and event["hit"] == "exact" and event["generation"] == 1
    assert event["bytes"] == saved["bytes"] and event["files"] == saved["files"]
    assert (event["path"], event["key"]) == (f"{work}/out", "k") and event["ms"] >= 0
    assert describe(f"{work}/out") == want and stages_in(work) == []


def test_a_miss_is_a_start(thaw, work, store):
    done = run(thaw, "--key", "none", "--path", f"{work}/out", command=["echo", "here"])
    assert (done.code, done.out, done.err) == (0, b"here\n", b"")
    assert done.of("restore")[0]["hit"] == "miss" and not os.path.exists(f"{work}/out")


def test_a_fallback(thaw, work, store, tree):
    keep(thaw, "main", tree)
    done = run(thaw, "--key", "branch", "--fallback", "main", "--path", f"{work}/out")
    assert done.of("restore")[0]["hit"] == "fallback" and done.of("restore")[0]["found"] == "main"
    assert_same(tree, f"{work}/out")


def test_a_damaged_store_leaves_the_target(thaw, work, store, tree):
    keep(thaw, "k", tree)
    for name in thaw.objects("packs"):
        write(os.path.join(thaw.store, name), b"nothing of a pack")
    write(f"{work}/out/old", b"old")
    done = run(thaw, "--key", "k", "--path", f"{work}/out", command=["cat", f"{work}/out/old"])
    assert (done.code, done.out) == (0, b"old")
    event = done.of("restore")[0]
    assert not event["ok"] and event["reason"] == "corrupt" and event["message"]


@pytest.mark.parametrize("how", ["silent", "refused"])
def test_a_store_that_is_not_there(thaw, work, how):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if how == "silent":
            server.listen(16)
        url = f"s3://bucket/p?endpoint=http://127.0.0.1:{server.getsockname()[1]}"
        done = run(thaw, "--key", "k", "--path", f"{work}/out", "--restore-timeout", "500ms", command=["echo", "here"],
                   env={"THAW_STORE": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert (done.code, done.out) == (0, b"here\n")
    event = done.of("restore")[0]
    assert not event["ok"] and (how == "refused" or event["reason"] == "timeout"), event
    assert not os.path.exists(f"{work}/out")


def test_several_paths_with_keys_and_stores(thaw, work, store, tree):
    other = f"{work}/other-store"
    small_tree(f"{work}/two", files=3)
    options = ("--key", "k", "--path", f"{work}/a/mods", "--path", f"{work}/b,key=own,store={other}", "--ready-exit")
    script = f'cp -a "{tree}" "{work}/a/mods" && cp -a "{work}/two" "{work}/b"'
    os.mkdir(f"{work}/a")
    cold = run(thaw, *options, command=["sh", "-c", script])
    assert [each["reason"] for each in cold.of("save")] == ["saved", "saved"]
    want = describe(f"{work}/a/mods"), describe(f"{work}/b")
    remove(f"{work}/a")
    remove(f"{work}/b")
    warm = run(thaw, *options)
    assert [each["hit"] for each in warm.of("restore")] == ["exact", "exact"]
    assert (describe(f"{work}/a/mods"), describe(f"{work}/b")) == want
    assert [each["reason"] for each in warm.of("save")] == ["unchanged", "unchanged"]
    assert generation(thaw, "k") == 1 and os.listdir(other)


def test_several_paths_share_a_key_by_name(thaw, work, store):
    options = ("--key", "k", "--path", f"{work}/one", "--path", f"{work}/two", "--ready-exit")
    run(thaw, *options, command=["sh", "-c", f'mkdir "{work}/one" "{work}/two"; echo a > "{work}/one/f"; echo b > "{work}/two/f"'])
    assert {each["key"] for each in thaw.ok("ls")["keys"]} == {"k/one", "k/two"}


# ----------------------------------------------------------------------------------------- exit codes

@pytest.mark.parametrize("command, code", [
    (["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "exit 255"], 255), (["sh", "-c", "kill -9 $$"], 137),
    (["sh", "-c", "kill -TERM $$"], 143), (["no-such-command"], 127), (["/no/such/command"], 127), (["/etc"], 126),
    (["/etc/passwd"], 126)])
def test_exit_codes(thaw, store, work, command, code):
    done = run(thaw, "--key", "k", "--path", f"{work}/out", command=command)
    assert done.code == code and done.of("exit")[0]["code"] == code
    assert (done.err != b"") == (code in (126, 127)), done.err
    assert done.of("exit")[0].get("signal") == {137: 9, 143: 15}.get(code)


def test_wrong_usage_starts_nothing(thaw, work, store):
    mark = f"{work}/started"
    home = thaw.home
    os.mkdir(f"{work}/real")
    os.symlink("real", f"{work}/alias")
    os.symlink("o/events", f"{work}/events")
    for words in (["--path", "/"], ["--path", "/../"], ["--path", home], ["--path", os.path.dirname(home)], ["--path", ""],
                  ["--path", f"{work}/o", "--ready-exit", "--ready-after", "1s"], ["--path", f"{work}/o", "--settle", "2"],
                  ["--path", f"{work}/o", "--ready-http", "ftp://x"], ["--path", f"{work}/o", "--ready-tcp", "80"],
                  ["--path", f"{work}/o", "--ready-fd", "1"], ["--path", f"{work}/o", "--ready-body", "x"],
                  ["--path", f"{work}/o", "--ready-http", "http://x", "--ready-body", "("],
                  ["--path", f"{work}/o", "--events", "fd:x"], ["--nonsense"],
                  ["--path", f"{work}/o", "--ready-fd", "1000000000"],
                  ["--path", f"{work}/o", "--events", f"{work}/o/events"], ["--path", f"{work}/o", "--events", f"{work}/events"],
                  ["--path", f"{work}/real/a,key=a", "--path", f"{work}/alias,key=b"],
                  ["--path", f"{work}/real/a,key=a", "--path", f"{work}/alias/a/b,key=b"]):
        answer = subprocess.run([binary(), "run", "--key", "k", *words, "--", "touch", mark], env=thaw.env, cwd=thaw.cwd,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        assert answer.returncode == 2 and answer.stderr, (words, answer)
    for words in (["run", "--key", b"a\xffb", "--path", "x", "--", "true"], ["run", "--key", "a@b", "--path", "x", "--", "true"],
                  ["run", "--key", "a\nb", "--path", "x", "--", "true"], ["run", "--key", "k", "--path", "x", "true"],
                  ["run", "--key", "k", "--path", "x", "--"], ["--json", "run", "--key", "k", "--path", "x", "--", "true"],
                  ["--timeout", "1s", "run", "--key", "k", "--path", "x", "--", "true"]):
        answer = subprocess.run([binary(), *words], env=thaw.env, cwd=thaw.cwd, stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=60, check=False)
        assert answer.returncode == 2, (words, answer)
    os.symlink("/", f"{work}/link")
    answer = subprocess.run([binary(), "run", "--key", "k", "--path", f"{work}/link", "--", "touch", mark], env=thaw.env,
                            capture_output=True, timeout=60, check=False)
    assert answer.returncode == 2
    assert not os.path.exists(mark)


# ------------------------------------------------------------------------------------- COMMAND's place

WHAT_IT_SEES = r"""
import json, os, sys
status = dict(line.split(":\t") for line in open("/proc/self/status") if ":\t" in line)
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink("/proc/self/fd/" + name)
    except FileNotFoundError:
        pass  # that of the listing itself
print(json.dumps({"fds": fds, "env": dict(os.environ), "group": os.getpgrp(), "session": os.getsid(0), "cwd": os.getcwd(),
                  "nice": os.nice(0), **{k: status[k].strip() for k in ("SigBlk", "SigIgn", "SigCgt")}}))
"""


def test_command_sees_what_it_would_see_alone(thaw, work, store):
    """Descriptors, signals, process group, environment: with and without us."""
    given = os.open("/dev/null", os.O_RDONLY)
    env = {**thaw.env, "DECO_CACHE_S3_KEY": "secret", "THAW_ADVISORY": "1", "AWS_REGION": "kept", "ODD": "a=b"}
    config = f"{work}/config.json"
    write(config, json.dumps({"store": thaw.store, "s3": {"access_key_id": "a", "secret_access_key": "hidden"}}).encode())
    place = os.open(config, os.O_RDONLY)

    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    def look(prefix, *fds):
        done = subprocess.run([*prefix, *python(WHAT_IT_SEES)], env=env, cwd=thaw.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              pass_fds=(given, *fds), preexec_fn=ignore, timeout=60, check=True)
        return json.loads(done.stdout)

    alone = look([])
    wrapped = look([binary(), "--config-json", f"fd:{place}", "run", "--events", f"{work}/events", "--key", "k",
                    "--path", f"{work}/out", "--"], place)
    for seen in (alone, wrapped):
        seen["fds"].pop("1")  # a pipe of its own each time
        seen["fds"] = {k: v for k, v in seen["fds"].items() if "/proc/" not in v and "/fd" not in v}
    assert wrapped["env"] == {k: v for k, v in alone["env"].items() if not k.startswith(("THAW_", "DECO_CACHE_"))}
    for name in ("fds", "SigBlk", "SigIgn", "cwd", "nice", "session"):
        assert wrapped[name] == alone[name], name
    assert wrapped["group"] == alone["group"]
    os.close(given)
    os.close(place)


def test_a_pipe_ends_when_command_closes_it(thaw, work, store):
    """We hold nothing open that COMMAND was given, nor does a worker."""
    code = "import os, sys, signal\nos.write(1, b'all')\nos.close(1)\nos.close(2)\nsignal.pause()"
    with Start(thaw, "--key", "k", "--path", f"{work}/out", "--ready-after", "1ms", "--settle", "60s", command=python(code)) as start:
        start.wait_for("ready")
        assert start.process.stdout.read() == b"all", "it ends, though COMMAND lives"
        start.signal(signal.SIGTERM)
        assert start.end() == 143


def test_much_output(thaw, work, store):
    done = run(thaw, "--key", "k", "--path", f"{work}/out", command=["sh", "-c", "head -c 50000000 /dev/zero; head -c 5000000 /dev/zero >&2"])
    assert (len(done.out), len(done.err), done.code) == (50_000_000, 5_000_000, 0)


def test_signals_reach_command(thaw, work, store):
    code = """
import os, signal, time
seen = []
def take(number, _):
    seen.append(number)
    os.write(1, b"%d\\n" % number)
for number in (1, 2, 3, 10, 12, 14, 15, 18, 28, 40):
    signal.signal(number, take)
os.write(1, b"up\\n")
while 15 not in seen:
    time.sleep(0.01)
"""
    with Start(thaw, "--key", "k", "--path", f"{work}/out", command=python(code)) as start:
        out = start.process.stdout
        assert out.readline() == b"up\n"
        for number in (1, 2, 3, 10, 12, 14, 18, 28, 40, 15):
            start.signal(number)
            assert out.readline() == b"%d\n" % number
        assert start.end() == 0
        assert start.out == b"", "each once"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_command(thaw, work, number):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        url = f"s3://bucket/p?endpoint=http://127.0.0.1:{server.getsockname()[1]}"
        with Start(thaw, "--key", "k", "--path", f"{work}/out", command=["touch", f"{work}/started"],
                   env={"THAW_STORE": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}) as start:
            server.accept()
            start.signal(number)
            assert start.end() == 128 + number
            assert start.steps()[-1] == "exit" and not os.path.exists(f"{work}/started")


def test_killed_with_us(thaw, work, store, tree):
    """SIGKILL to us is SIGKILL to COMMAND and to the saver."""
    keep(thaw, "k", tree)
    with Start(thaw, "--key", "k", "--path", f"{work}/out", "--ready-after", "1ms", "--settle", "1h", command=["sleep", "1000"]) as start:
        start.wait_for("ready")
        family = wait_until(lambda: len(children_of(start.pid)) == 2 and children_of(start.pid), "COMMAND and a saver")
        start.signal(signal.SIGKILL)
        start.process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in family), "all of them are gone")


def test_process_one_reaps(thaw, work, store, as_root):
    """Orphans of COMMAND are no zombies, in a process namespace of our own."""
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no process namespaces here")
    code = """
import os, subprocess, time
for _ in range(20):
    subprocess.run(["sh", "-c", "(exec sleep 0.01) & exit 0"], check=True)
deadline = time.monotonic() + 30
def others():
    return [each for each in os.listdir("/proc") if each.isdigit() and int(each) not in (1, os.getpid())]
while others() and time.monotonic() < deadline:
    time.sleep(0.01)
print(open("/proc/1/comm").read().strip(), others())
"""
    done = run(thaw, "--key", "k", "--path", f"{work}/out", command=python(code),
               prefix=["unshare", "--pid", "--fork", "--mount-proc", "--"])
    assert (done.code, done.out) == (0, b"thaw []\n"), done.err


# ------------------------------------------------------------------------------------------- terminal

class Terminal:
    """A session with a terminal, and a program in its foreground."""

    def __init__(self, words, env, cwd):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(words[0], words, env)
        self.text = b""

    def wait_for(self, text):
        def look():
            if text not in self.text and select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.fd, 4096)
                except OSError:
                    pass
            return text in self.text
        wait_until(look, f"{text!r} on the terminal; so far {self.text!r}")
        self.text = self.text.split(text, 1)[1]

    def type(self, keys):
        os.write(self.fd, keys)

    def end(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


SHELL = "/bin/bash"


def a_shell(thaw):
    """An interactive one, with job control, that asks for its first line."""
    if not os.path.exists(SHELL):
        pytest.skip("no bash")
    terminal = Terminal([SHELL, "--norc", "--noprofile", "-i"], {**thaw.env, "PS1": "outer> "}, thaw.cwd)
    terminal.wait_for(b"outer> ")
    return terminal


INTERACTIVE = """
import os, signal, sys
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append("int"))
signal.signal(signal.SIGCONT, lambda *_: seen.append("cont"))
print("foreground", os.tcgetpgrp(0) == os.getpgrp(), flush=True)
for line in sys.stdin:
    print("got", line.strip(), ",".join(seen), flush=True)
    if line.strip() == "bye":
        sys.exit(5)
"""


def test_a_terminal(thaw, work, store):
    terminal = Terminal([binary(), "run", "--key", "k", "--path", f"{work}/out", "--", *python(INTERACTIVE)], thaw.env, thaw.cwd)
    terminal.wait_for(b"foreground True")
    terminal.type(b"one\n")
    terminal.wait_for(b"got one \r\n")
    terminal.type(b"\x03")
    terminal.wait_for(b"^C")
    terminal.type(b"two\n")
    terminal.wait_for(b"got two int\r\n")  # once
    terminal.type(b"bye\n")
    assert terminal.end() == 5


def test_job_control_in_a_shell(thaw, work, store):
    """Ctrl-Z gives the shell back, fg the program."""
    terminal = a_shell(thaw)
    program = f"{work}/program.py"
    write(program, INTERACTIVE.encode())
    terminal.type(f"{binary()} run --key k --path {work}/out -- {sys.executable} -I -S {program}\n".encode())
    terminal.wait_for(b"foreground True")
    terminal.type(b"\x1a")
    terminal.wait_for(b"Stopped")
    terminal.wait_for(b"outer> ")
    terminal.type(b"fg\n")
    terminal.wait_for(b"run --key")
    terminal.type(b"back\n")
    terminal.wait_for(b"got back cont")
    terminal.type(b"bye\n")
    terminal.wait_for(b"outer> ")
    terminal.type(b"exit $?\n")
    assert terminal.end() == 5


DOES_NOT_STOP = """
import os, signal, sys
signal.signal(signal.SIGTSTP, lambda *_: os.write(1, b"not now\\n"))
print("up", flush=True)
for line in sys.stdin:
    print("got", line.strip(), flush=True)
    if line.strip() == "bye":
        sys.exit(6)
"""


def test_who_does_not_stop_keeps_the_terminal(thaw, work, store):
    """An editor may take Ctrl-Z for something else."""
    terminal = a_shell(thaw)
    write(f"{work}/program.py", DOES_NOT_STOP.encode())
    terminal.type(f"{binary()} run --key k --path {work}/out -- {sys.executable} -I -S {work}/program.py\n".encode())
    terminal.wait_for(b"up\r\n")
    terminal.type(b"\x1a")
    terminal.wait_for(b"not now")
    terminal.type(b"more\n")
    terminal.wait_for(b"got more")
    terminal.type(b"bye\n")
    terminal.wait_for(b"outer> ")
    terminal.type(b"exit $?\n")
    assert terminal.end() == 6


def test_a_shell_that_suspends_itself(thaw, work, store):
    """It stops with a process group of its own in the foreground."""
    terminal = a_shell(thaw)
    terminal.type(f"PS1='inner> ' {binary()} run --key k --path {work}/out -- {SHELL} --norc --noprofile -i\n".encode())
    terminal.wait_for(b"inner> ")
    terminal.type(b"suspend\n")
    terminal.wait_for(b"Stopped")
    terminal.wait_for(b"outer> ")
    terminal.type(b"fg\n")
    terminal.wait_for(b"inner> ")
    terminal.type(b"exit 7\n")
    terminal.wait_for(b"outer> ")
    terminal.type(b"exit $?\n")
    assert terminal.end() == 7


def test_a_command_that_is_stopped_without_a_terminal_stops_nobody_else(thaw, work, store):
    with Start(thaw, "--key", "k", "--path", f"{work}/out", command=["sleep", "1000"], start_new_session=True) as start:
        command = start.wait_for("started")["pid"]
        os.kill(command, signal.SIGSTOP)
        os.kill(command, signal.SIGCONT)
        os.kill(command, signal.SIGTERM)
        assert start.end() == 143


# ------------------------------------------------------------------------------- readiness and saving

SERVER = """
import http.server, sys, threading
class Answers(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        Answers.count += 1
        self.send_response(200 if Answers.count > 2 else 503)
        self.end_headers()
        self.wfile.write(b"x" * 1000 + b" all is well " if Answers.count > 3 else b"not yet")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers)
server.serve_forever()
"""
NOTIFY = """
import os, socket, signal
place = os.environ["NOTIFY_SOCKET"]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"STATUS=up\\nREADY=1", "\\0" + place[1:] if place[0] == "@" else place)
signal.pause()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("kind", ["http", "http-body", "tcp", "file", "fd", "notify", "after"])
def test_saved_once_ready(thaw, work, store, tree, kind):
    port, path = free_port(), f"{work}/out"
    os.rename(tree, path)
    options, command = {
        "http": (["--ready-http", f"http://127.0.0.1:{port}/"], python(SERVER, str(port))),
        "http-body": (["--ready-http", f"http://127.0.0.1:{port}/", "--ready-status", "200", "--ready-body", "all (is|was) well"],
                      python(SERVER, str(port))),
        "tcp": (["--ready-tcp", f"127.0.0.1:{port}"], python(SERVER, str(port))),
        "file": (["--ready-file", f"{work}/flag"], ["sh", "-c", f"touch {work}/flag; exec sleep 1000"]),
        "fd": (["--ready-fd", "9"], ["bash", "-c", "echo >&9; echo more >&9; exec sleep 1000"]),
        "notify": (["--ready-notify"], python(NOTIFY)),
        "after": (["--ready-after", "10ms"], ["sleep", "1000"]),
    }[kind]
    if kind == "file":
        write(f"{work}/flag", b"of an earlier start")
    with Start(thaw, "--key", "k", "--path", path, *options, "--settle", "50ms", command=command) as start:
        assert start.wait_for("ready")["by"] == kind.split("-")[0]
        assert start.wait_for("settled")["ms"] >= 50
        saved = start.wait_for("save")
        assert (saved["ok"], saved["reason"], saved["generation"]) == (True, "saved", 1)
        assert children_of(start.pid) and start.process.poll() is None
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert start.steps() == ["restore", "started", "ready", "settled", "save", "exit"]
    thaw.restore("k", f"{work}/again")
    assert_same(path, f"{work}/again")


STREAM = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
kept = []
while True:
    kept.append(server.accept()[0])
    kept[-1].recv(4096)
    kept[-1].sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n" + sys.argv[2].replace("~", "\\0").encode())
"""


@pytest.mark.parametrize("options, sent", [
    ([], ""), (["--ready-body", "is well$"], "data: all is well"), (["--ready-body", "z y"], "x" * 100000 + "z y"),
    (["--ready-body", "is well"], "~~all is well")],
    ids=["headers", "body", "long", "zeros"])
def test_ready_by_an_answer_without_end(thaw, work, store, tree, options, sent):
    """Streams of events, and servers that keep a connection for later."""
    port = free_port()
    with Start(thaw, "--key", "k", "--path", tree, "--ready-http", f"http://127.0.0.1:{port}/", *options, "--settle", "10ms",
               command=python(STREAM, str(port), sent)) as start:
        assert start.wait_for("save")["reason"] == "saved"
        start.signal(signal.SIGTERM)
        assert start.end() == 143


def test_what_is_left_out_need_not_be_quiet(thaw, work, store):
    code = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "logs").mkdir(parents=True)
(folder / "file").write_text("content")
while True:
    (folder / "logs" / "a").write_text("x")
    (folder / "b.log").write_text("y")
    os.unlink(folder / "b.log")
"""
    with Start(thaw, "--key", "k", "--path", f"{work}/out", "--exclude", "logs", "--exclude", "*.log", "--ready-file", f"{work}/out/file",
               "--settle", "200ms", command=python(code, f"{work}/out")) as start:
        assert start.wait_for("save")["reason"] == "saved"
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    thaw.restore("k", f"{work}/again")
    assert os.listdir(f"{work}/again") == ["file"]


def test_what_is_our_own_need_not_be_quiet(thaw, work, store, tree):
    """A cache and a store below a path."""
    thaw.env["XDG_CACHE_HOME"] = f"{tree}/.cache"
    with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", "--settle", "10ms", command=["sleep", "1000"],
               env={"THAW_STORE": f"{tree}/store"}) as start:
        assert start.wait_for("save")["reason"] == "saved"
        start.signal(signal.SIGTERM)
        assert start.end() == 143


def test_a_path_that_became_a_link_to_the_home_is_not_saved(thaw, work, store, tree):
    write(f"{thaw.home}/secret", b"secret")
    with Start(thaw, "--key", "k", "--path", tree, "--ready-file", f"{work}/flag", "--settle", "10ms",
               command=["sh", "-c", f"mv {tree} {work}/away; ln -s {thaw.home} {tree}; touch {work}/flag; exec sleep 1000"]) as start:
        assert start.wait_for("save")["reason"] == "invalid"
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert generation(thaw, "k") == 0


def test_a_saver_that_is_killed_is_told_of_and_followed(thaw, work, store, tree):
    """Under memory pressure it is the first to go."""
    with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", "--settle", "1h", "--save-on-exit", command=["sleep", "1000"]) as start:
        start.wait_for("ready")
        command = start.of("started")[0]["pid"]
        saver = wait_until(lambda: [each for each in children_of(start.pid) if each != command], "it has a saver")[0]
        os.kill(saver, signal.SIGKILL)
        assert start.wait_for("save")["reason"] == "internal" and start.process.poll() is None
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert [each["reason"] for each in start.of("save")] == ["internal", "saved"] and generation(thaw, "k") == 1


def test_a_save_that_failed_is_tried_once_more_at_the_end(thaw, work, store, tree):
    thaw.save("other", tree)
    marker = f"{thaw.store}/thaw.json"
    with open(marker, "rb") as file:
        kept = file.read()
    write(marker, b"nothing of a marker")
    with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", "--settle", "10ms", "--save-on-exit",
               command=["sleep", "1000"]) as start:
        assert not start.wait_for("save")["ok"]
        write(marker, kept)
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert [each["reason"] for each in start.of("save")][1:] == ["saved"] and generation(thaw, "k") == 1


def test_ready_by_exit(thaw, work, store):
    make = ["sh", "-c", f'mkdir -p "{work}/out" && echo made > "{work}/out/file"']
    cold = run(thaw, "--key", "k", "--path", f"{work}/out", "--ready-exit", command=make)
    assert cold.steps() == ["restore", "started", "ready", "save", "exit"]
    warm = run(thaw, "--key", "k", "--path", f"{work}/out", "--save-on-exit", command=make)
    assert warm.of("restore")[0]["hit"] == "exact" and warm.of("save")[0]["reason"] == "unchanged"
    failed = run(thaw, "--key", "k", "--path", f"{work}/out", "--ready-exit", command=["sh", "-c", f"echo bad > {work}/out/file; exit 3"])
    assert (failed.code, failed.of("save")[0]["reason"], generation(thaw, "k")) == (3, "not_ready", 1)


def test_waits_until_nothing_changes(thaw, work, store):
    """It saves what is there after the last change, however long that takes."""
    code = """
import os, signal, sys
from pathlib import Path
folder = Path(sys.argv[1])
folder.mkdir()
print("up", flush=True)
for line in sys.stdin:
    (folder / "file").write_text(line)
    print("wrote", flush=True)
signal.pause()
"""
    with Start(thaw, "--key", "k", "--path", f"{work}/out", "--ready-after", "1ms", "--settle", "300ms", command=python(code, f"{work}/out"),
               stdin=subprocess.PIPE) as start:
        out, into = start.process.stdout, start.process.stdin
        assert out.readline() == b"up\n"
        for number in range(10):
            into.write(b"%d\n" % number)
            into.flush()
            assert out.readline() == b"wrote\n"
        start.wait_for("settled")
        assert start.wait_for("save")["ok"]
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    thaw.restore("k", f"{work}/again")
    with open(f"{work}/again/file", "rb") as file:
        assert file.read() == b"9\n"


def test_never_an_empty_or_shrunken_tree(thaw, work, store, tree):
    keep(thaw, "k", tree)
    for script, reason in ((f"rm -rf {work}/out/*", "empty"), (f"rm -rf {work}/out/*; echo x > {work}/out/x", "shrunken")):
        done = run(thaw, "--key", "k", "--path", f"{work}/out", "--ready-exit", command=["sh", "-c", script])
        assert (done.code, done.of("save")[0]["reason"], done.of("save")[0]["ok"]) == (0, reason, False)
        assert generation(thaw, "k") == 1


def test_never_ready_is_never_saved(thaw, work, store, tree):
    done = run(thaw, "--key", "k", "--path", tree, "--ready-file", f"{work}/never", "--save-on-exit")
    assert done.of("save")[0]["reason"] == "not_ready" and generation(thaw, "k") == 0
    done = run(thaw, "--key", "k", "--path", tree, "--ready-fd", "7")
    assert done.of("save")[0]["reason"] == "not_ready"


def test_never_quiet_is_not_saved(thaw, work, store, tree):
    with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", "--settle", "1h", command=["sleep", "1000"]) as start:
        start.wait_for("ready")
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert start.of("save")[0]["reason"] == "not_settled" and generation(thaw, "k") == 0


def test_save_on_exit_does_not_wait_for_quiet(thaw, work, store, tree):
    with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", "--settle", "1h", "--save-on-exit", command=["sleep", "1000"]) as start:
        start.wait_for("ready")
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert start.of("save")[0]["reason"] == "saved" and generation(thaw, "k") == 1
    with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", "--settle", "1h", "--save-on-exit", command=["sleep", "1000"]) as start:
        start.wait_for("ready")
        write(f"{tree}/more", b"more")
        os.kill(start.wait_for("started")["pid"], signal.SIGKILL)
        assert start.end() == 137
    assert start.of("save")[0]["reason"] == "not_settled" and generation(thaw, "k") == 1


def test_killed_during_its_save(thaw, work, store, tree):
    """The generation before stays the newest, or the new one is whole."""
    keep(thaw, "k", tree)
    path = f"{work}/out"
    text = b"".join(b"line %d of much text, which takes long to compress at this level\n" % number for number in range(200_000))
    write(f"{work}/slow.toml", b"[save]\ncompression_level = 19\n")
    with Start(thaw, "--key", "k", "--path", path, "--ready-after", "1ms", "--settle", "50ms", command=["sleep", "1000"],
               flags=["--config", f"{work}/slow.toml"]) as start:
        start.wait_for("started")
        for number in range(8):
            write(f"{path}/big{number}", text + b"%d" % number)
        start.wait_for("settled")
        os.kill(start.wait_for("started")["pid"], signal.SIGKILL)
        assert start.end() == 137
    event = start.of("save")[0]
    assert event["reason"] == "abandoned" and generation(thaw, "k") == 1, event
    thaw.clean()


def test_two_at_once(thaw, work, store, tree):
    """Both generations are whole."""
    both = []
    for number in range(2):
        script = f'cp -a "{tree}" "{work}/out{number}"; echo {number} > "{work}/out{number}/own"'
        both.append(Start(thaw, "--key", "k", "--path", f"{work}/out{number}", "--ready-exit", command=["sh", "-c", script]))
    for start in both:
        with start:
            assert start.end() == 0 and start.of("save")[0]["reason"] == "saved"
    owns = set()
    for number in (1, 2):
        thaw.restore(f"k@{number}", f"{work}/again{number}")
        with open(f"{work}/again{number}/own", "rb") as own:
            owns.add(own.read())
    assert owns == {b"0\n", b"1\n"}
    thaw.clean()


# ------------------------------------------------------------------------------------------ sd_notify

def receive(outer):
    outer.settimeout(60)
    return outer.recv(4096)


@pytest.mark.parametrize("abstract", [True, False])
def test_notifications_go_on(thaw, work, store, tree, abstract):
    place = f"{work}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind("\0" + place if abstract else place)
        env = {"NOTIFY_SOCKET": ("@" if abstract else "") + place, "LISTEN_PID": "1"}
        with Start(thaw, "--key", "k", "--path", tree, "--ready-notify", "--settle", "10ms", command=python(NOTIFY), env=env) as start:
            assert receive(outer) == b"STATUS=up\nREADY=1"
            assert start.wait_for("save")["ok"]
            start.signal(signal.SIGTERM)
            assert start.end() == 143
        with Start(thaw, "--key", "k", "--path", tree, "--ready-after", "1ms", command=["sleep", "1000"], env=env) as start:
            assert receive(outer) == b"READY=1", "we say it for a COMMAND that does not"
            start.signal(signal.SIGTERM)
            assert start.end() == 143


def test_ready_is_said_once_there_is_room(thaw, work, store, tree):
    code = """
import os, signal, socket
place = os.environ["NOTIFY_SOCKET"]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.setblocking(False)
    try:
        while True:
            s.sendto(b"STATUS=much", "\\0" + place[1:])
    except BlockingIOError:
        print("full", flush=True)
signal.pause()
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind(f"{work}/notify")
        with Start(thaw, "--key", "k", "--path", tree, "--ready-file", f"{work}/flag", "--settle", "1h", command=python(code),
                   env={"NOTIFY_SOCKET": f"{work}/notify"}) as start:
            assert start.process.stdout.readline() == b"full\n"
            write(f"{work}/flag", b"")
            start.wait_for("ready")
            while receive(outer) != b"READY=1":
                pass
            start.signal(signal.SIGTERM)
            assert start.end() == 143


# --------------------------------------------------------------------------------------------- events

def test_disabled(thaw, work):
    done = run(thaw, "--key", "k", "--path", f"{work}/out", "--ready-exit", command=["echo", "here"])
    assert (done.code, done.out, done.err) == (0, b"here\n", b"")
    assert done.steps() == ["disabled", "started", "ready", "exit"] and done.of("disabled")[0]["reason"] == "disabled"
    assert not os.path.exists(thaw.store)


def test_lines_for_people_with_v_alone(thaw, work, store):
    done = run(thaw, "--key", "k", "--path", f"{work}/out", flags=["-v"])
    assert b"restore" in done.err and b"started" in done.err and b"exit" in done.err


def test_a_full_pipe_holds_nobody_up(thaw, work, store, tree):
    into, out = os.pipe()
    os.set_blocking(out, False)
    try:
        while True:
            os.write(out, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(out, True)
    done = subprocess.run([binary(), "run", "--events", f"fd:{out}", "--key", "k", "--path", tree, "--ready-exit", "--", "echo", "here"],
                          env=thaw.env, cwd=thaw.cwd, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=(out,), timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"here\n") and generation(thaw, "k") == 1
    assert os.get_blocking(out), "the flag is everybody's"
    os.close(into)
    done = subprocess.run([binary(), "run", "--events", f"fd:{out}", "--key", "k", "--path", tree, "--", "echo", "here"], env=thaw.env,
                          cwd=thaw.cwd, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=(out,), timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"here\n")
    os.close(out)


@pytest.mark.parametrize("flags, events", [(["-v"], []), ([], ["--events", "/nowhere/events"])], ids=["verbose", "error"])
def test_a_standard_error_that_nobody_reads_holds_nobody_up(thaw, work, store, flags, events):
    into, out = os.pipe()
    os.set_blocking(out, False)
    try:
        while True:
            os.write(out, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(out, True)
    process = subprocess.Popen([binary(), *flags, "run", "--key", "k", "--path", f"{work}/out", *events, "--", "sh", "-c", "exit 3"],
                               env=thaw.env, cwd=thaw.cwd, stdin=subprocess.DEVNULL, stderr=out)
    try:
        assert process.wait(timeout=60) == 3
    finally:
        process.kill()
        process.wait()
        os.close(into)
        os.close(out)


def test_events_to_a_file_and_to_nowhere(thaw, work, store):
    for _ in range(2):
        subprocess.run([binary(), "run", "--events", f"{work}/events", "--key", "k", "--path", f"{work}/out", "--", "true"], env=thaw.env,
                       cwd=thaw.cwd, timeout=60, check=True)
    with open(f"{work}/events", encoding="utf-8") as lines:
        assert [json.loads(line)["event"] for line in lines] == ["restore", "started", "exit"] * 2
    os.mkfifo(f"{work}/fifo")
    for target in (f"{work}/none/events", f"{work}/fifo", "fd:77"):
        done = subprocess.run([binary(), "run", "--events", target, "--key", "k", "--path", f"{work}/out", "--", "echo", "here"], env=thaw.env,
                              cwd=thaw.cwd, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, b"here\n"), target
        assert b"no events" in done.stderr


# -------------------------------------------------------------------------------------- configuration

def test_a_late_restore_takes_nothing_of_commands(thaw, work):
    """COMMAND fills the empty folder at the same time."""
    for number in range(3000):
        write(f"{work}/tree/{number:04}", b"restored")
    write(f"{work}/tree/zz", b"restored")
    keep(thaw, "k", f"{work}/tree")
    code = """
import os, sys
folder = sys.argv[1]
while not os.listdir(folder):
    pass
try:
    with open(folder + "/zz", "x") as file:
        file.write("mine")
    print("made", flush=True)
except FileExistsError:
    print("there", flush=True)
sys.stdin.read()
"""
    config = json.dumps({"store": thaw.store, "run": {"key": "k", "path": [{"path": f"{work}/out"}]}}).encode()
    os.mkdir(f"{work}/out")
    into, out = os.pipe()
    with Start(thaw, "--await-config", f"fd:{into}", "--await-timeout", "10ms", command=python(code, f"{work}/out"), pass_fds=(into,),
               stdin=subprocess.PIPE) as start:
        start.wait_for("started")
        os.write(out, config)
        restored = start.wait_for("restore")
        said = start.process.stdout.readline()
        with open(f"{work}/out/zz", "rb") as file:
            assert file.read() == (b"mine" if said == b"made\n" else b"restored")
        if said == b"made\n":
            assert (restored["ok"], restored["reason"]) == (False, "busy")
        start.process.stdin.close()
        start.process.stdin = None
        assert start.end() == 0
    os.close(into)
    os.close(out)


def pipe_with(data, close=True):
    into, out = os.pipe()
    os.write(out, data)
    if close:
        os.close(out)
        return into, None
    return into, out


def test_json_of_a_start(thaw, work, tree):
    keep(thaw, "a/b", tree)
    config = {"store": thaw.store, "run": {"key": "a/b", "path": [{"path": f"{work}/out"}]}}
    into, _ = pipe_with(json.dumps(config).encode())
    done = run(thaw, command=["ls", f"{work}/out"], flags=["--config-json", f"fd:{into}"], pass_fds=(into,))
    os.close(into)
    assert done.code == 0 and done.of("restore")[0]["hit"] == "exact"
    # And for those that do not wrap.
    write(f"{work}/c.json", json.dumps({"store": thaw.store}).encode())
    assert thaw.restore("a/b", f"{work}/out2", "--config-json", f"{work}/c.json")["hit"] == "exact"
    assert thaw.save("a/b", tree, "--config-json", f"{work}/c.json")["reason"] == "unchanged"


@pytest.mark.parametrize("text, reason", [
    (b"{", "invalid"), (b'{"run": nil}', "invalid"), (b"", "invalid"), (b"[]", "invalid"), (b'{"colour": "red"}', "invalid"), (b"\xff\x00", "invalid"),
    (b'{"run": {"path": [{"path": "/"}]}}', "invalid"), (b'{"run": {"key": "a@b"}}', "invalid"),
    (b" " * (1 << 20) + b"{}", "exhausted"), (None, "timeout")],
    ids=["cut", "broken", "nothing", "list", "unknown", "bytes", "root", "key", "large", "late"])
def test_json_that_is_no_good(thaw, work, store, tree, text, reason):
    """It fails open, and says so; and nothing is done that it might have forbidden."""
    keep(thaw, "k", tree)
    write(f"{work}/c.json", text or b"")
    into, out = os.pipe() if text is None else (os.open(f"{work}/c.json", os.O_RDONLY), None)
    done = run(thaw, "--key", "k", "--path", f"{work}/out", "--restore-timeout", "300ms", command=["echo", "here"],
               flags=["--config-json", f"fd:{into}"], pass_fds=(into,))
    if text == b'{"run": {"key": "a@b"}}':  # the command line names one
        assert done.of("restore")[0]["ok"]
    else:
        assert done.steps() == ["disabled", "started", "exit"] and done.of("disabled")[0]["reason"] == reason
        assert done.of("disabled")[0]["message"] and not os.path.exists(f"{work}/out")
    assert (done.code, done.out) == (0, b"here\n")
    for fd in (into, out):
        if fd is not None:
            os.close(fd)


def test_awaited_configuration(thaw, work, tree):
    keep(thaw, "k", tree)
    config = json.dumps({"store": thaw.store, "run": {"key": "k", "path": [{"path": f"{work}/out"}]}}).encode()
    # In time, from a writer that keeps its end open.
    into, out = pipe_with(config, close=False)
    done = run(thaw, "--await-config", f"fd:{into}", command=["ls", f"{work}/out"], pass_fds=(into,))
    assert done.code == 0 and done.steps() == ["restore", "started", "exit"] and done.of("restore")[0]["ok"]
    remove(f"{work}/out")
    os.close(into)
    os.close(out)
    # Late: COMMAND runs, and finds it later.
    into, out = os.pipe()
    with Start(thaw, "--await-config", f"fd:{into}", "--await-timeout", "10ms", "--ready-file", f"{work}/flag", "--settle", "10ms",
               command=["sleep", "1000"], pass_fds=(into,)) as start:
        start.wait_for("started")
        assert start.of("config")[0]["reason"] == "late"
        os.write(out, config)
        assert start.wait_for("restore")["ok"]
        assert_same(tree, f"{work}/out")
        write(f"{work}/flag", b"")
        assert start.wait_for("save")["reason"] == "unchanged"
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    os.close(into)
    os.close(out)
    # Late, and the file that says ready is in the snapshot: that says nothing of this start.
    write(f"{tree}/ready", b"of an earlier start")
    keep(thaw, "k", tree)
    remove(f"{work}/out")
    into, out = os.pipe()
    with Start(thaw, "--await-config", f"fd:{into}", "--await-timeout", "10ms", "--ready-file", f"{work}/out/ready", "--settle", "10ms",
               command=["sleep", "1000"], pass_fds=(into,)) as start:
        start.wait_for("started")
        os.write(out, config)
        assert start.wait_for("restore")["ok"]
        write(f"{work}/out/ready.new", b"of this one")
        assert "ready" not in start.steps()
        os.rename(f"{work}/out/ready.new", f"{work}/out/ready")
        assert start.wait_for("save")["ok"]
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    os.close(into)
    os.close(out)
    # Late, and something is there: it is left alone.
    remove(f"{work}/out")
    write(f"{work}/out/own", b"COMMAND's")
    into, out = os.pipe()
    with Start(thaw, "--await-config", f"fd:{into}", "--await-timeout", "10ms", command=["sleep", "1000"], pass_fds=(into,)) as start:
        start.wait_for("started")
        os.write(out, config)
        assert start.wait_for("restore")["reason"] == "late"
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert os.listdir(f"{work}/out") == ["own"]
    os.close(into)
    os.close(out)
    # Broken, from a writer that keeps its end open: nobody waits for what can only stay so.
    into, out = pipe_with(b'{"store": nowhere, ', close=False)
    done = run(thaw, "--await-config", f"fd:{into}", "--await-timeout", "1h", pass_fds=(into,))
    assert done.steps() == ["disabled", "started", "exit"] and done.of("disabled")[0]["reason"] == "invalid"
    # Never: signals are COMMAND's meanwhile.
    os.close(into)
    os.close(out)
    into, out = os.pipe()
    with Start(thaw, "--await-config", f"fd:{into}", "--await-timeout", "1h", command=["true"], pass_fds=(into,)) as start:
        wait_until(lambda: os.readlink(f"/proc/{start.pid}/exe") == os.path.realpath(binary()), "it runs")
        wait_until(lambda: signals_blocked(start.pid), "it listens")
        start.signal(signal.SIGTERM)
        assert start.end() == 143 and start.steps() == ["exit"]
    os.close(into)
    os.close(out)


def signals_blocked(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("SigBlk")).split()[1], 16) >> (signal.SIGTERM - 1) & 1


def test_names_of_the_deco_cache(thaw, work, store, tree):
    keep(thaw, "site/shop", tree)
    done = run(thaw, "--path", f"{work}/out", env={"DECO_CACHE_S3_BUCKET": "b", "DECO_CACHE_S3_KEY": "site/shop"},
               command=["sh", "-c", "env | grep -c ^DECO_CACHE_ || true"])
    assert done.of("restore")[0]["hit"] == "exact" and done.of("restore")[0]["key"] == "site/shop" and done.out == b"0\n"
    remove(f"{work}/out")
    write(f"{work}/c.json", json.dumps({"DECO_CACHE_S3_BUCKET": "b", "DECO_CACHE_S3_KEY": "no key//of ours@.tar.zst"}).encode())
    done = run(thaw, "--path", f"{work}/out", flags=["--config-json", f"{work}/c.json"], command=["echo", "here"])
    assert (done.code, done.out) == (0, b"here\n") and not done.of("restore")[0]["ok"]


def test_the_archive_of_the_deco_cache(s3, work, tree):
    """A start without a snapshot takes the archive of old; the next one has a snapshot."""
    name = "caches/shop.tar.zst"
    s3.ok("archive", "put", tree, s3.url(prefix=name))
    before = describe(tree)
    env = {"DECO_CACHE_S3_BUCKET": s3.bucket, "DECO_CACHE_S3_REGION": s3.server.region, "DECO_CACHE_S3_KEY": name}
    words = ("--path", f"{work}/out", "--ready-exit", "--save-on-exit")
    done = run(s3, *words, env=env, command=["true"])
    restored = done.of("restore")[0]
    assert (restored["ok"], restored["hit"], done.code) == (True, "archive", 0), restored
    assert_same(before, f"{work}/out")
    assert done.of("save")[0]["reason"] == "saved"
    remove(f"{work}/out")
    assert run(s3, *words, env=env, command=["true"]).of("restore")[0]["hit"] == "exact"
    assert_same(before, f"{work}/out")


def test_a_restore_that_was_cut_off_is_not_saved(thaw, work, tree):
    """A part of a snapshot would follow the whole of it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        url = f"s3://bucket/p?endpoint=http://127.0.0.1:{server.getsockname()[1]}"
        env = {"THAW_STORE": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        with Start(thaw, "--key", "k", "--path", tree, "--mode", "merge", "--restore-timeout", "60s", "--ready-after", "1ms",
                   "--settle", "10ms", command=["sleep", "1000"], env=env) as start:
            restorer = wait_until(lambda: children_of(start.pid), "it restores")[0]
            os.kill(restorer, signal.SIGKILL)
            assert start.wait_for("restore")["reason"] == "internal"
            assert start.wait_for("save")["reason"] == "half_restored"
            start.signal(signal.SIGTERM)
            assert start.end() == 143


def test_a_link_to_a_path_settles_as_the_path_does(thaw, work, store):
    os.mkdir(f"{work}/real")
    os.symlink("real", f"{work}/path")
    code = "import itertools, sys\nfor number in itertools.count():\n  open(sys.argv[1], 'w').write(str(number))"
    with Start(thaw, "--key", "k", "--path", f"{work}/path", "--ready-after", "1ms", "--settle", "200ms",
               command=python(code, f"{work}/real/file")) as start:
        start.wait_for("ready")
        start.signal(signal.SIGTERM)
        assert start.end() == 143
    assert not start.of("settled") and start.of("save")[0]["reason"] == "not_settled"


# ------------------------------------------------------------------------------------------- detached

def read_events(path):
    try:
        with open(path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]
    except FileNotFoundError:
        return []


def test_a_detached_save(thaw, work, tree):
    events = f"{work}/events"
    answer = thaw.ok("save", "k", tree, "--detach", "--events", events)
    assert answer["detached"] and answer["key"] == "k"
    last = wait_until(lambda: [each for each in read_events(events) if each["event"] == "save"], "it is saved")[0]
    assert (last["ok"], last["reason"], last["generation"]) == (True, "saved", 1)
    assert read_events(events)[0] == {"event": "started", "key": "k", "pid": answer["pid"]}
    wait_until(lambda: not is_alive(answer["pid"]), "it ended")
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
    thaw.fails(2, "save", "k", tree, "--events", events)
    thaw.fails(2, "save", "k", tree, "--detach", "--store", "bogus://")
    with open(f"{work}/no-folder", "wb"):
        pass
    said = thaw.ok("save", "k4", tree, "--detach", "--events", f"{work}/events4", env={"XDG_CACHE_HOME": f"{work}/no-folder"})
    assert b"no lock" in said.err
    wait_until(lambda: [each for each in read_events(f"{work}/events4") if each["event"] == "save"], "it is saved without a lock, too")


def test_a_detached_save_survives_its_caller(thaw, work, tree):
    """Its session, and whoever waits for the end of the caller's pipes."""
    text = b"".join(b"line %d of much text, which takes long to compress at this level\n" % number for number in range(200_000))
    for number in range(4):
        write(f"{tree}/big{number}", text + b"%d" % number)
    write(f"{work}/slow.toml", b"[save]\ncompression_level = 19\n")
    words = ("save", "k", tree, "--detach", "--events", f"{work}/events", "--config", f"{work}/slow.toml")
    answer = thaw.ok(*words, start_new_session=True)
    assert os.getsid(answer["pid"]) == answer["pid"]
    assert os.getpriority(os.PRIO_PROCESS, answer["pid"]) == 19
    assert thaw.fails(4, *words)["reason"] == "busy", "one at a time"
    other = thaw.ok("save", "k2", tree, "--detach")
    assert thaw.ok("save", "k3", tree)["generation"] == 1, "who waits is not refused"
    last = wait_until(lambda: [each for each in read_events(f"{work}/events") if each["event"] == "save"], "it is saved")[0]
    assert last["ok"]
    wait_until(lambda: not is_alive(answer["pid"]) and not is_alive(other["pid"]), "they ended")
    assert thaw.ok(*words)["detached"], "and the next one may"
    wait_until(lambda: len([each for each in read_events(f"{work}/events") if each["event"] == "save"]) == 2, "it is saved")
