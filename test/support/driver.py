"""Runs the thaw binary the way a user does, and checks what holds for every run."""

import json
import os
import signal
import subprocess
import sys

# An answer must never come from the sanitizers or the shell.
EXIT_CODES = {0, 1, 2, 3, 4}


def binary():
    return os.environ["THAW"]


class Answer:
    def __init__(self, words, code, out, err):
        self.words, self.code, self.out, self.err = words, code, out, err
        self._object = None

    @property
    def object(self):
        """The one JSON object on standard output."""
        if self._object is None:
            text = self.out.decode("utf-8")
            value, end = json.JSONDecoder().raw_decode(text)
            assert isinstance(value, dict), self
            assert text[end:] == "\n", f"more than one object: {self}"
            self._object = value
        return self._object

    def __getitem__(self, name):
        return self.object[name]

    def get(self, name, default=None):
        return self.object.get(name, default)

    def __repr__(self):
        return f"thaw {self.words!r} -> {self.code}\nstdout: {self.out[-3000:]!r}\nstderr: {self.err[-3000:]!r}"


class Thaw:
    """State below `root`: nothing of the user's own configuration, cache or store is touched."""

    def __init__(self, root):
        self.root = root
        self.home = os.path.join(root, "home")
        self.cwd = os.path.join(root, "cwd")
        self.store = os.path.join(root, "data", "thaw", "store")
        self.cache = os.path.join(root, "cache", "thaw")
        self.config_home = os.path.join(root, "config")
        for folder in (self.home, self.cwd):
            os.makedirs(folder, exist_ok=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("THAW", "XDG_", "INTERPOSE_"))}
        self.env.update(
            HOME=self.home,
            XDG_DATA_HOME=os.path.join(root, "data"),
            XDG_CACHE_HOME=os.path.join(root, "cache"),
            XDG_CONFIG_HOME=self.config_home,
            XDG_CONFIG_DIRS=os.path.join(root, "config-dirs"),
            LC_ALL="C.UTF-8",
        )

    def start(self, *words, env=None, cwd=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, json=True, **kw):
        command = [binary(), *(["--json"] if json else []), *words]
        return subprocess.Popen(
            command, env={**self.env, **(env or {})}, cwd=cwd or self.cwd, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, **kw)

    def measured(self, *words):
        """The code of the answer, its object, and the largest memory of the process in MiB."""
        out, err = f"{self.root}/out.json", f"{self.root}/err.txt"
        # A process counts what its parent held when it was made: this one holds little.
        launcher = ("import os, sys\n"
                    "child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)\n"
                    "_, status, usage = os.wait4(child, 0)\n"
                    "print(os.waitstatus_to_exitcode(status), usage.ru_maxrss, file=sys.stderr)\n")
        command = [sys.executable, "-I", "-S", "-c", launcher, binary(), "--json", *words]
        with open(out, "wb") as to, open(err, "wb") as log:
            subprocess.run(command, env=self.env, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=to, stderr=log,
                           check=True)
        with open(out, "rb") as answer, open(err, "rb") as log:
            code, kib = log.read().splitlines()[-1].split()
            return int(code), json.load(answer), int(kib) / 1024

    def run(self, *words, timeout=120, json=True, **kw):
        """Runs to the end; asserts that it answered properly, whatever it answered."""
        process = self.start(*words, json=json, **kw)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"hangs: thaw {words!r}\n{out!r}\n{err!r}")
        answer = Answer(words, process.returncode, out, err)
        assert answer.code in EXIT_CODES, answer
        # `cache` only helps, unless it is told to be strict.
        helps = words[:1] == ("cache",) and "--strict" not in words
        advisory = helps or "--advisory" in words or {"THAW_ADVISORY", "THAW_CONFIG"} & set(kw.get("env") or {})
        if json and not advisory and "--exit-code" not in words:
            assert answer["ok"] is (answer.code == 0), answer
        return answer

    def ok(self, *words, **kw):
        answer = self.run(*words, **kw)
        assert answer.code == 0, answer
        return answer

    def fails(self, code, *words, **kw):
        answer = self.run(*words, **kw)
        assert answer.code == code, answer
        if kw.get("json", True):
            assert answer["message"], answer
            assert answer["reason"], answer
        assert answer.err or "--quiet" in words or "-q" in words, answer
        return answer

    # What almost every test does.
    def save(self, key, tree, *words, **kw):
        return self.ok("save", key, tree, *words, **kw)

    def restore(self, ref, target, *words, **kw):
        return self.ok("restore", ref, target, *words, **kw)

    def objects(self, kind=""):
        """Names of the store's objects, below `kind`."""
        found = []
        for folder, _, files in os.walk(os.path.join(self.store, kind)):
            found += [os.path.relpath(os.path.join(folder, each), self.store) for each in files]
        return sorted(each for each in found if not each.startswith(".tmp"))

    def clean(self):
        """verify finds nothing."""
        answer = self.ok("verify")
        assert answer["faults"] == [], answer
        return answer


def was_killed(code):
    return code == -signal.SIGKILL


def stages_in(folder):
    return [each for each in os.listdir(folder) if each.startswith(".thaw-stage-")]
