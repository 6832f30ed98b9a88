"""The trees that are measured on: making, copying, counting, comparing and changing them."""

import dataclasses
import os
import random
import shutil
import stat
import subprocess
from pathlib import Path

from lib.bench import BenchError, need, say

MANIFEST = Path(__file__).resolve().parent.parent / "tree" / "package.json"


@dataclasses.dataclass
class TreeFacts:
    files: int = 0
    dirs: int = 0
    others: int = 0
    bytes: int = 0            # apparent
    allocated_bytes: int = 0  # what a copy takes here

    def text(self):
        return (f"{self.files:,} files, {self.dirs:,} directories, {self.others:,} others, "
                f"{self.bytes / 1e6:,.0f} MB")


def entries_of(root):
    """Every name below root, as (relative path, os.DirEntry); siblings sorted."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(os.path.join(root, prefix)) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                path = os.path.join(prefix, entry.name)
                yield path, entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)


def facts_of(root):
    facts = TreeFacts(dirs=1)
    for _, entry in entries_of(root):
        status = entry.stat(follow_symlinks=False)
        facts.allocated_bytes += status.st_blocks * 512
        if stat.S_ISREG(status.st_mode):
            facts.files += 1
            facts.bytes += status.st_size
        elif stat.S_ISDIR(status.st_mode):
            facts.dirs += 1
        else:
            facts.others += 1
    return facts


def stored_bytes(root):
    """Bytes of all files below root; 0 when it is missing."""
    return facts_of(root).bytes if os.path.isdir(root) else 0


def install(directory):
    """Makes a real node_modules from the pinned list and answers where it is."""
    need(shutil.which("npm"), "npm is missing: install it, or name a tree with --tree")
    directory.mkdir()
    shutil.copy(MANIFEST, directory)
    say("installing the packages of bench/tree/package.json: minutes")
    # In the user's environment: how npm reaches a registry is configured there. Scripts stay off:
    # they would run strangers' code, and what they make differs between machines.
    done = subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"],
        cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"npm install failed:\n{done.stdout}")
    return directory / "node_modules"


def copy(source, target):
    """A copy with all attributes, to be changed."""
    subprocess.run(["cp", "-a", "--", str(source), str(target)], check=True)


def compare(left, right, attributes=True):
    """Raises unless both trees hold the same. Without `attributes` only types and sizes are
    compared: tar, for one, keeps whole seconds."""

    def described(root):
        facts = {"": describe(os.lstat(root), root)}
        for path, entry in entries_of(root):
            facts[path] = describe(entry.stat(follow_symlinks=False), entry.path)
        return facts

    def describe(status, path):
        mode = status.st_mode
        facts = [stat.S_IFMT(mode)]
        if stat.S_ISREG(mode):
            facts.append(status.st_size)
        if stat.S_ISLNK(mode):
            facts.append(os.readlink(path))
        if attributes:
            facts += [mode, status.st_uid, status.st_gid, status.st_mtime_ns]
        return tuple(facts)

    ours, theirs = described(left), described(right)
    if not attributes:
        ours[""] = theirs[""] = None
    wrong = sorted(path for path in ours.keys() | theirs.keys()
                   if ours.get(path) != theirs.get(path))
    if wrong:
        shown = "\n".join(f"  {path or '.'}: {ours.get(path)} and {theirs.get(path)}"
                          for path in wrong[:10])
        raise BenchError(f"{left} and {right} differ in {len(wrong)} places:\n{shown}")
    done = subprocess.run(["diff", "-rq", "--no-dereference", str(left), str(right)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    need(done.returncode == 0, f"{left} and {right} differ:\n{done.stdout[:2000]}")


def regular_files(root):
    """Sorted relative paths of the files that have bytes: the order that a seed relies on."""
    return sorted(path for path, entry in entries_of(root)
                  if entry.is_file(follow_symlinks=False)
                  and entry.stat(follow_symlinks=False).st_size > 0)


class Changes:
    """Changes a tree at random, the same way each time for a seed and a tree. Keeps the list of
    files itself, so nothing else may add or remove any."""

    def __init__(self, root, seed):
        self._root = Path(root)
        self._random = random.Random(seed)
        self._files = regular_files(root)
        self._made = 0

    def append_byte(self):
        """To one file."""
        with open(self._root / self._random.choice(self._files), "ab") as file:
            file.write(b"\n")

    def rewrite(self, share):
        """Other content of the same size for a share of the files; answers how many."""
        chosen = self._random.sample(self._files, self._count(share))
        for path in chosen:
            size = os.path.getsize(self._root / path)
            with open(self._root / path, "r+b") as file:
                while size > 0:
                    size -= file.write(self._random.randbytes(min(size, 1 << 20)))
        return len(chosen)

    def next_version(self, share):
        """A share of the files edited, as many added and as many removed."""
        count = self._count(share)
        chosen = self._random.sample(self._files, 3 * count)
        edited, copied, removed = chosen[:count], chosen[count:2 * count], chosen[2 * count:]
        dirs = sorted({os.path.dirname(path) for path in self._files})
        for path in edited:
            self._write_with_line(path, path)
        added = []
        for path in copied:
            added.append(os.path.join(self._random.choice(dirs), f"added-{self._made}"
                                      + os.path.splitext(path)[1]))
            self._write_with_line(path, added[-1])
        for path in removed:
            os.unlink(self._root / path)
        self._files = sorted(set(self._files).difference(removed).union(added))

    def _count(self, share):
        return max(1, round(len(self._files) * share))

    def _write_with_line(self, source, target):
        """The bytes of `source` with a line inserted in the middle."""
        content = (self._root / source).read_bytes()
        cut = content.find(b"\n", len(content) // 2) + 1 or len(content) // 2
        self._made += 1
        line = b"// change %d\n" % self._made
        (self._root / target).write_bytes(content[:cut] + line + content[cut:])


def make_sparse(path, size_bytes, seed):
    """A file of holes with a tenth of data, in runs of 64 MiB at even distances: every second one
    random, every second one compressible to about a half. Answers the bytes of data."""
    generator = random.Random(seed)
    block = 1 << 20
    run = 64 * block
    runs = max(2, size_bytes // 10 // run)
    with open(path, "wb", buffering=0) as file:
        file.truncate(size_bytes)
        for index in range(runs):
            file.seek(size_bytes // runs * index)
            for _ in range(run // block):
                if index % 2 == 0:
                    file.write(generator.randbytes(block))
                else:
                    file.write(generator.randbytes(block // 2).hex().encode())
    return runs * run


def _data_runs(file, size):
    end = 0
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, end


def compare_sparse(left, right, more=1.02):
    """Raises unless both files hold the same bytes and right has at most `more` times as many of them
    allocated. Reads what is data in either; everything else is a hole in both."""
    size = os.path.getsize(left)
    need(size == os.path.getsize(right), f"{left} and {right} differ in size")
    with open(left, "rb") as ours, open(right, "rb") as theirs:
        for start, end in [*_data_runs(ours, size), *_data_runs(theirs, size)]:
            ours.seek(start)
            theirs.seek(start)
            while start < end:
                length = min(end - start, 1 << 20)
                need(ours.read(length) == theirs.read(length),
                     f"{left} and {right} differ at {start}")
                start += length
    # What is cut at content-defined places may fill the rest of a page.
    most = os.stat(left).st_blocks * 512 * more
    need(os.stat(right).st_blocks * 512 <= most, f"{right} lost its holes")
