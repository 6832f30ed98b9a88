"""Random kills in many starts of thaw run: of us, of COMMAND, of its children, of our workers, and of the store's network.

Whatever is killed when: exit codes are right, pipes end, nobody is left behind, COMMAND never finds half a tree, and every
generation is whole. THAW_RUN_STARTS says how many starts (40), THAW_TEST_SEED which; THAW_RUN_AT_ONCE how many at once (4).
"""

import concurrent.futures
import os
import random
import signal
import time

import pytest

from driver import stages_in
from fault_proxy import FaultProxy
from starts import Start, children_of, is_alive, python, wait_until

STARTS = int(os.environ.get("THAW_RUN_STARTS", "40"))
AT_ONCE = int(os.environ.get("THAW_RUN_AT_ONCE", "4"))
FILES = 30
KEYS = ("a", "b/c")

# Looks at what it finds, makes a new tree beside it, switches to it by renaming, says that it is ready, and ends or waits.
COMMAND = """
import os, signal, subprocess, sys
path, version, ends = sys.argv[1], sys.argv[2], sys.argv[3]
found = []
if os.path.isdir(path):
    for name in sorted(os.listdir(path)):
        with open(path + "/" + name) as file:
            found.append(file.read().split()[0])
child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         close_fds=True)
print(len(found), *sorted(set(found)), flush=True)
print(child.pid, flush=True)
os.makedirs(path + ".new")
for number in range(int(sys.argv[4])):
    with open(path + ".new/%03d" % number, "w") as file:
        file.write(version + " " + "text " * (number * 300))
if os.path.isdir(path):
    os.rename(path, path + ".old")
os.rename(path + ".new", path)
sys.stdout.write("x" * 300000)
sys.stderr.write("y" * 300000)
sys.stdout.flush()
try:
    os.write(9, b"ready\\n")
except OSError:
    pass
if ends != "wait":
    child.kill()
    child.wait()
    sys.exit(int(ends))
signal.pause()
"""


class Chaos:
    """One start, and what is done to it."""

    def __init__(self, thaw, folder, number, seed):
        self.thaw, self.folder, self.number = thaw, folder, number
        self.random = random.Random(f"{seed}/{number}")
        self.key = self.random.choice(KEYS)
        self.ends = self.random.choice(["0", "3", "wait", "wait", "wait"])
        self.victim = self.random.choice(["us", "command", "child", "worker", "worker", "terminate", "nobody"])
        self.moment = self.random.choice(["at once", "restore", "started", "ready", "settled", "save"])
        self.path = f"{folder}/tree"

    def __repr__(self):
        return f"start {self.number}: {self.key}, ends {self.ends}, kill {self.victim} at {self.moment}"

    def run(self):
        os.mkdir(self.folder)
        options = ["--key", self.key, "--path", self.path, "--ready-fd", "9", "--settle", "20ms", "--restore-timeout", "20s"]
        if self.random.random() < 0.3:
            options.append("--save-on-exit")
        words = python(COMMAND, self.path, f"v{self.number}", self.ends, str(FILES))
        out, err = f"{self.folder}/out", f"{self.folder}/err"
        with open(out, "wb") as stdout, open(err, "wb") as stderr, \
                Start(self.thaw, *options, command=words, stdout=stdout, stderr=stderr) as start:
            self._disturb(start)
            code = start.end()
            self._judge(start, code, out)

    def _disturb(self, start):
        try:
            if self.moment != "at once":
                start.wait_for(self.moment)
        except AssertionError as fault:  # it ended before that
            if "ended without" not in str(fault):
                raise
        time.sleep(self.random.random() ** 3 * 0.05)  # the random moment; nothing is waited for
        self.family = children_of(start.pid)
        command = next((each["pid"] for each in start.of("started")), None)
        self.hit = None
        if self.victim == "us":
            self.hit = self._kill(start.pid)
        elif self.victim == "command" and command:
            self.hit = self._kill(command)
        elif self.victim == "worker":
            self.hit = [self._kill(each) for each in self.family if each != command and self._is_worker(each)]
        elif self.victim == "child" and command:
            self.hit = [self._kill(each) for each in children_of(command)]
        elif self.victim == "terminate":
            self.hit = self._kill(start.pid, signal.SIGTERM)
        if self.ends == "wait" and self.victim not in ("us", "terminate") and not (self.victim == "command" and self.hit):
            try:
                start.wait_for("started")
                if self.random.random() < 0.7 and self.victim == "nobody":
                    start.wait_for("save")
            except AssertionError as fault:
                if "ended without" not in str(fault):
                    raise
            self._kill(start.pid, signal.SIGTERM)

    @staticmethod
    def _is_worker(pid):
        """Not COMMAND before its exec: that would be killing COMMAND."""
        try:
            with open(f"/proc/{pid}/comm", "rb") as comm:
                return comm.read() == b"thaw-worker\n"
        except OSError:
            return False

    @staticmethod
    def _kill(pid, number=signal.SIGKILL):
        try:
            os.kill(pid, number)
            return True
        except ProcessLookupError:
            return False

    def _judge(self, start, code, out):
        usual = {143} if self.ends == "wait" else {int(self.ends)}
        allowed = {"us": {-9} | usual, "command": {137} | usual, "terminate": {143} | usual}.get(self.victim, usual)
        if code == -15 and not start.events:
            return  # it came before we were there to take it in, as with any program
        assert code in allowed, (self, code, start.events)
        last = start.events[-1] if start.events else None
        if code != -9:
            assert last["event"] == "exit" and last["code"] == code, (self, start.events)
        command = next((each["pid"] for each in start.of("started")), None)
        family = {*self.family, *([command] if command else [])}
        wait_until(lambda: not any(is_alive(pid) for pid in family), f"{self}: {family} are gone")
        with open(out, "rb") as text:
            lines = text.read().split(b"\n")
        if len(lines) > 1:  # COMMAND was killed before it said more
            self._kill(int(lines[1])) if lines[1].isdigit() else None
        if lines[0]:
            count, *versions = lines[0].split()
            assert (int(count), len(versions)) in ((0, 0), (FILES, 1)), (self, lines[0])
        if code != -9 and self.victim != "worker":
            assert stages_in(self.folder) == [], self


def all_whole(thaw, folder):
    """Every generation of every key is one version, all of it."""
    seen = 0
    for key in KEYS:
        newest = {each["key"]: each["generation"] for each in thaw.ok("ls")["keys"]}.get(key, 0)
        for generation in range(1, newest + 1):
            target = f"{folder}/whole"
            thaw.restore(f"{key}@{generation}", target, "--mode", "sync")
            versions = set()
            for name in os.listdir(target):
                with open(f"{target}/{name}", encoding="ascii") as file:
                    versions.add(file.read().split()[0])
            assert len(os.listdir(target)) == FILES and len(versions) == 1, (key, generation, versions)
            seen += 1
    return seen


def storm(thaw, work, count):
    seed = os.environ.get("THAW_TEST_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")
    chaos = [Chaos(thaw, f"{work}/{number}", number, seed) for number in range(count)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(each.run) for each in chaos]:
            done.result()
    return seed


@pytest.mark.slow
def test_random_kills(thaw, work):
    thaw.env["THAW_STORE"] = thaw.store
    storm(thaw, work, STARTS)
    thaw.clean()
    generations = all_whole(thaw, work)
    print(f"{STARTS} starts, {generations} generations")
    assert generations > 0


@pytest.mark.slow
def test_random_kills_and_a_store_that_comes_and_goes(s3, s3_server, work):
    """The same with a bucket whose server is away half of the time."""
    with FaultProxy(s3_server.endpoint) as proxy:
        s3.use(proxy.endpoint)
        done = False

        def come_and_go(chance):
            while not done:
                time.sleep(chance.random() * 0.1)
                with proxy.closed():
                    time.sleep(chance.random() * 0.1)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            going = pool.submit(come_and_go, random.Random(1))
            try:
                storm(s3, work, max(STARTS // 4, 10))
            finally:
                done = True
            going.result()
    s3.use()
    s3.clean()
    all_whole(s3, work)
