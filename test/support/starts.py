"""Starts of `thaw run`, watched through their events."""

import json
import os
import select
import signal
import subprocess
import sys
import time

from driver import binary

PATIENCE_S = 60


def python(code, *words):
    """A COMMAND of Python text."""
    return [sys.executable, "-I", "-S", "-c", code, *words]


class Start:
    """A running `thaw run`. Its events come through a pipe."""

    def __init__(self, thaw, *options, command=("true",), env=None, pass_fds=(), flags=(), stdout=subprocess.PIPE,
                 stderr=subprocess.PIPE, prefix=(), **kw):
        into, out = os.pipe()
        words = [*prefix, binary(), *flags, "run", "--events", f"fd:{out}", *options, "--", *command]
        self.process = subprocess.Popen(
            words, env={**thaw.env, **(env or {})}, cwd=kw.pop("cwd", thaw.cwd), stdin=kw.pop("stdin", subprocess.DEVNULL),
            stdout=stdout, stderr=stderr, pass_fds=(out, *pass_fds), **kw)
        os.close(out)
        self._pipe, self._unread = into, b""
        self.events = []

    @property
    def pid(self):
        return self.process.pid

    def _read(self, deadline):
        """False at the end."""
        ready, _, _ = select.select([self._pipe], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"nothing more came; so far {self.events}"
        piece = os.read(self._pipe, 65536)
        *lines, self._unread = (self._unread + piece).split(b"\n")
        self.events += map(json.loads, lines)
        return piece != b""

    def wait_for(self, step, count=1):
        """The count-th event of that name."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = [each for each in self.events if each["event"] == step]
            if len(found) >= count:
                return found[count - 1]
            assert self._read(deadline), f"it ended without {step}: {self.events}"

    def steps(self):
        return [each["event"] for each in self.events]

    def of(self, step):
        return [each for each in self.events if each["event"] == step]

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Waits for it; answers the exit code. Standard output and error are kept."""
        deadline = time.monotonic() + PATIENCE_S
        try:
            self.out, self.err = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"hangs: {self.events}") from None
        while self._read(deadline):
            pass
        self.close()
        assert self._unread == b"", self._unread
        return self.process.returncode

    def close(self):
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.close()


def run(thaw, *options, **kw):
    """To its end."""
    with Start(thaw, *options, **kw) as start:
        start.code = start.end()
        return start


def wait_until(condition, what):
    """Looks again and again; fails after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)
    return found


def is_alive(pid):
    """And no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rsplit(b") ", 1)[1][:1] not in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return [int(each) for each in children.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
