"""The frame of a benchmark run: the work directory, running commands, interleaved measuring."""

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


class BenchError(Exception):
    """Ends the run, with a message for the user."""


@dataclasses.dataclass
class Outcome:
    """One run of a command or pipeline."""

    seconds: float
    peak_bytes: int  # of the process that had most
    stdout: bytes

    def json(self):
        return json.loads(self.stdout)


@dataclasses.dataclass
class Sample:
    """All measured runs of one thing."""

    name: str
    outcomes: list = dataclasses.field(default_factory=list)

    @property
    def seconds(self):
        return [outcome.seconds for outcome in self.outcomes]

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def peak_bytes(self):
        return max(outcome.peak_bytes for outcome in self.outcomes)

    def raw(self):
        return {"seconds": self.seconds, "median": self.median, "min": min(self.seconds),
                "max": max(self.seconds),
                "peak_bytes": [outcome.peak_bytes for outcome in self.outcomes]}


@dataclasses.dataclass
class Case:
    """One thing to measure. Only `run` is timed, by the launcher; it returns its Outcome."""

    name: str
    run: callable
    before: callable = None  # before each run
    check: callable = None   # once, after the warm-up: was the work done, and done right?
    after: callable = None   # after each run


class Bench:
    """The work directory and what runs in it. A context manager: it cleans up."""

    def __init__(self, parent, runs, keep=False):
        self.runs = runs
        self.keep = keep
        self.work = Path(tempfile.mkdtemp(prefix="thaw-bench.", dir=parent))
        self._home = self.work / "home"
        self._home.mkdir()
        self._launcher = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("launcher.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._launcher.stdin.close()
        self._launcher.wait()
        self._launcher.stdout.close()
        if self.keep:
            say(f"kept: {self.work}")
        else:
            wipe(self.work)

    def place(self, name):
        """A path in the work directory where nothing is."""
        path = self.work / name
        wipe(path)
        return path

    def environment(self, state):
        """Nothing of the user's but PATH; whatever a program keeps lies below `state`."""
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8",
                "HOME": str(self._home), "TMPDIR": str(self._home),
                "XDG_CACHE_HOME": str(state / "cache"), "XDG_DATA_HOME": str(state / "data"),
                "XDG_CONFIG_HOME": str(state / "config")}

    def run(self, *pipeline, env=None, cwd=None):
        """Runs commands as one pipeline; each must succeed."""
        pipeline = [[str(word) for word in words] for words in pipeline]
        out, err = self._home / "stdout", self._home / "stderr"
        request = {"pipeline": pipeline, "env": env or self.environment(self._home),
                   "cwd": str(cwd or self.work), "stdout": str(out), "stderr": str(err)}
        try:
            print(json.dumps(request), file=self._launcher.stdin, flush=True)
            answer = json.loads(self._launcher.stdout.readline() or "{}")
        except BrokenPipeError:
            answer = {}
        shown = " | ".join(" ".join(words) for words in pipeline)
        if "statuses" not in answer:
            raise BenchError(f"could not run: {shown}\n{answer.get('error', 'launcher died')}")
        if any(answer["statuses"]):
            output = (out.read_bytes() + err.read_bytes()).decode(errors="replace")
            raise BenchError(f"failed with {answer['statuses']}: {shown}\n{output.strip()}")
        return Outcome(answer["seconds"], max(answer["peak_bytes"]), out.read_bytes())

    def interleaved(self, title, *cases):
        """A warm-up of each, then A, B, A, B, …: what slows the machine for a while slows all.
        Answers a Sample for each case."""
        samples = [Sample(case.name) for case in cases]
        for turn in range(self.runs + 1):
            for case, sample in zip(cases, samples):
                outcome = self._turn(case, checked=turn == 0)
                label = f"{turn}/{self.runs}" if turn else "warm-up"
                say(f"{title}: {label}: {case.name} {outcome.seconds:.2f} s, "
                    f"{outcome.peak_bytes / MIB:.0f} MiB")
                if turn > 0:
                    sample.outcomes.append(outcome)
        return samples

    @staticmethod
    def _turn(case, checked):
        if case.before:
            case.before()
        outcome = case.run()
        if checked and case.check:
            case.check(outcome)
        if case.after:
            case.after()
        return outcome


def say(text):
    print(text, file=sys.stderr, flush=True)


def need(condition, message):
    if not condition:
        raise BenchError(message)


def wipe(path):
    """Removes whatever is there. rm, since it is several times faster than Python."""
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(path)], check=True)


def require_room(directory, wanted_bytes):
    """Refuses when the run would not fit; then has the pages touched, once, so that no measured
    run is the first to ask a virtual machine's host for them."""
    free = shutil.disk_usage(directory).free
    memory = free
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            memory = int(line.split()[1]) * 1024
    if is_tmpfs(directory):
        # What measured programs need themselves comes on top.
        free = min(free, memory - GIB)
    need(free >= wanted_bytes,
         f"too little room in {directory}: about {wanted_bytes / GIB:.1f} GiB are needed and "
         f"{max(free, 0) / GIB:.1f} GiB can be had; see --work and --only")
    say(f"touching {wanted_bytes / GIB:.1f} GiB")
    block = bytes(4 * MIB)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(0, wanted_bytes, len(block)):
            file.write(block)


def filesystem_of(path):
    """The type of the filesystem that holds `path`."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        if fields.split()[2] == wanted:
            return source.split()[0]
    return "unknown"


def is_tmpfs(path):
    return filesystem_of(path) == "tmpfs"
