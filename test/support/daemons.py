"""Child processes that never outlive their parent, and the loopback ports they listen on."""

import concurrent.futures
import contextlib
import ctypes
import os
import random
import signal
import socket
import struct
import subprocess
import time

LOOPBACK = "127.0.0.1"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with(parent):
    """What a child does before it executes anything: from now on it dies with its parent."""
    def prepare():
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it was too late
    return prepare


def free_port():
    """A port that nobody listens on, outside of what the kernel gives to those who ask for any."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)  # a test may have seeded the other source
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
                return port
            except OSError:
                continue


def listening(pid):
    """The (address, port) pairs on which a process accepts TCP connections."""
    sockets, found = set(), set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            sockets.add(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            continue
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
        for row in rows:
            if row[3] == "0A" and f"socket:[{row[9]}]" in sockets:
                address, port = row[1].split(":")
                words = struct.unpack(f">{len(address) // 8}I", bytes.fromhex(address))
                found.add((socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16)))
    return found


class StartError(Exception):
    pass


class Daemons:
    """Child processes that never outlive this one, however it ends; their output goes to files in `log_folder`."""

    def __init__(self, log_folder):
        os.makedirs(log_folder, exist_ok=True)
        self._log_folder = log_folder
        self._running = {}
        # The kernel's promise binds a child to the thread that made it. This one lives as long as the process.
        self._parent = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="daemons")
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("CEPH_")}

    def _spawn(self, name, command):
        path = os.path.join(self._log_folder, name + ".out")

        def start():
            with open(path, "ab") as out:
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=self._env,
                    cwd=self._log_folder, start_new_session=True, preexec_fn=die_with(os.getpid()))
        return self._parent.submit(start).result()

    def log(self, name):
        with open(os.path.join(self._log_folder, name + ".out"), "rb") as file:
            return file.read().decode(errors="replace")

    def run(self, name, *command, timeout=60):
        """Runs to the end; answers what it printed on both streams."""
        before = 0
        if os.path.exists(os.path.join(self._log_folder, name + ".out")):
            before = len(self.log(name))
        process = self._spawn(name, command)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = "nothing in time"
            process.kill()
            process.wait()
        said = self.log(name)[before:]
        if code != 0:
            raise StartError(f"{' '.join(command)} answered {code}: {said[-3000:]}")
        return said

    def start(self, name, *command):
        self._running[name] = self._spawn(name, command)

    def wait_until(self, condition, what, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if condition():
                    return
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise StartError(f"{name} ended with {process.returncode}: {self.log(name)[-3000:]}")
            if time.monotonic() > deadline:
                raise StartError(f"no {what} after {timeout} s; see {self._log_folder}")
            time.sleep(0.01)

    def wait_until_listening(self, name, port):
        """Only its own socket counts, so that another server on this port is not taken for it."""
        pid = self._running[name].pid
        self.wait_until(lambda: (LOOPBACK, port) in listening(pid), f"socket of {name}")

    def pids(self):
        return {name: process.pid for name, process in self._running.items()}

    def stop(self):
        """At once: there is nothing to save."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()
        self._running.clear()
