"""thaw and the programs that it is measured against. Each object keeps all that its program keeps
(store, repository, caches) in one place of its own in the work directory."""

import shutil

from lib.bench import need
from lib.tree import stored_bytes


class Thaw:
    def __init__(self, bench, name, binary):
        self._bench = bench
        self._binary = binary
        self._root = bench.place(name)
        self.reset()

    def reset(self):
        """An empty place: no store, no stat cache."""
        self._bench.place(self._root.name).mkdir()

    def forget(self):
        """An empty stat cache."""
        self._bench.place(f"{self._root.name}/cache")

    def save(self, key, path):
        return self._run("save", key, path)

    def restore(self, key, path, *options):
        return self._run("restore", key, path, *options)

    def extract(self, key, name, path):
        """One file of a snapshot, to `path`."""
        return self._run("extract", key, name, path)

    def stored_bytes(self):
        return stored_bytes(self._root / "store")

    def _run(self, *words):
        return self._bench.run(
            [self._binary, "--store", self._root / "store", "--json", *words],
            env=self._bench.environment(self._root))


class Tar:
    """`tar | zstd` as people use it."""

    def __init__(self, bench, name):
        self._bench = bench
        self.archive = bench.place(name)

    def reset(self):
        self.archive.unlink(missing_ok=True)

    def save(self, path):
        return self._bench.run(["tar", "-c", "-C", path, "."],
                               ["zstd", "-3", "-T0", "-q", "-f", "-o", self.archive])

    def restore(self, path):
        """Into `path`, an empty directory."""
        return self._bench.run(["zstd", "-dc", self.archive], ["tar", "-x", "-C", path])

    def stored_bytes(self):
        return self.archive.stat().st_size


class Peer:
    """A backup program with a repository and caches."""

    program = ""

    def __init__(self, bench, name):
        need(shutil.which(self.program), f"{self.program} is missing: ./dev deps bench")
        self._bench = bench
        self._root = bench.place(name)
        self._repository = self._root / "repository"
        self._saves = 0
        self.reset()

    def reset(self):
        """A fresh repository, and no cache."""
        self._bench.place(self._root.name).mkdir()
        self._initialise()

    def stored_bytes(self):
        return stored_bytes(self._repository)

    def _initialise(self):
        raise NotImplementedError

    def _environment(self):
        return self._bench.environment(self._root)


class Restic(Peer):
    program = "restic"

    def save(self, path):
        return self._run("backup", ".", cwd=path)

    def restore(self, path):
        """The newest backup into `path`, an empty directory."""
        return self._run("restore", "latest", "--target", path)

    def _initialise(self):
        self._run("init")

    def _run(self, *words, cwd=None):
        env = self._environment() | {"RESTIC_PASSWORD": "bench"}
        return self._bench.run(["restic", "-q", "-r", self._repository, *words], env=env, cwd=cwd)


class Borg(Peer):
    """As it comes: lz4, and no encryption, since none of the others but restic has any."""

    program = "borg"

    def save(self, path):
        self._saves += 1
        return self._run("create", f"{self._repository}::{self._saves}", ".", cwd=path)

    def restore(self, path):
        """The newest archive into `path`, an empty directory."""
        return self._run("extract", f"{self._repository}::{self._saves}", cwd=path)

    def _initialise(self):
        self._run("init", "-e", "none", self._repository)

    def _run(self, *words, cwd=None):
        # It asks before it uses a repository that its caches do not know.
        env = self._environment() | {"BORG_BASE_DIR": str(self._root / "base"),
                                     "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
                                     "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        return self._bench.run(["borg", *words], env=env, cwd=cwd)


class Casync(Peer):
    program = "casync"

    def save(self, path):
        return self._run("make", self._root / "tree.caidx", path)

    def restore(self, path):
        return self._run("extract", self._root / "tree.caidx", path)

    def _initialise(self):
        pass  # it makes its store itself

    def _run(self, verb, *words):
        return self._bench.run(["casync", verb, f"--store={self._repository}", *words],
                               env=self._environment())
