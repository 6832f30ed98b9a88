"""Trees on disk: described completely, compared, and made at random from a seed."""

import hashlib
import os
import random
import shutil
import stat
import subprocess

VOLATILE_XATTRS = ("security.selinux",)


def _xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return ()
    return tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in sorted(names) if n not in VOLATILE_XATTRS)


def _content(name, folder):
    digest = hashlib.sha256()
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        while piece := os.read(fd, 1 << 20):
            digest.update(piece)
    finally:
        os.close(fd)
    return digest.hexdigest()


def describe(root, times=True, owners=True, xattrs=True, root_too=True, skip=()):
    """Every name below `root` (bytes, relative), with all that a snapshot keeps. Works at any depth."""
    nodes = {}
    first_names = {}

    def add(rel, name, folder):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode) or rel in skip:
            return False
        node = {"mode": status.st_mode}
        if owners:
            node["owner"] = (status.st_uid, status.st_gid)
        if times:
            node["mtime"] = status.st_mtime_ns
        if stat.S_ISREG(status.st_mode):
            node["size"] = status.st_size
            node["content"] = _content(name, folder)
        elif stat.S_ISLNK(status.st_mode):
            node["target"] = os.readlink(name, dir_fd=folder)
        elif stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
            node["device"] = status.st_rdev
        if xattrs:
            node["xattrs"] = _xattrs(b"/proc/self/fd/%d/%s" % (folder, name))
        if not stat.S_ISDIR(status.st_mode):
            node["link"] = first_names.setdefault((status.st_dev, status.st_ino), rel)
        nodes[rel] = node
        return stat.S_ISDIR(status.st_mode)

    def walk(fd, rel):
        for name in sorted(os.listdir(b"/proc/self/fd/%d" % fd)):
            path = rel + b"/" + name if rel else name
            if add(path, name, fd):
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                try:
                    walk(child, path)
                finally:
                    os.close(child)

    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if root_too:
            add(b"", b".", top)
        walk(top, b"")
    finally:
        os.close(top)
    return nodes


def difference(expected, actual):
    """What two descriptions disagree about, one line each; empty when they are equal."""
    lines = []
    for name in sorted(set(expected) | set(actual)):
        if name not in actual:
            lines.append(f"missing: {name!r}")
        elif name not in expected:
            lines.append(f"extra: {name!r}")
        elif expected[name] != actual[name]:
            fields = [f"{k}: {expected[name].get(k)!r} is {actual[name].get(k)!r}"
                      for k in sorted(set(expected[name]) | set(actual[name]))
                      if expected[name].get(k) != actual[name].get(k)]
            lines.append(f"{name!r}: " + "; ".join(fields))
    return lines


def assert_same(expected, actual, **kw):
    """`expected` and `actual` are folders or descriptions."""
    one = expected if isinstance(expected, dict) else describe(expected, **kw)
    other = actual if isinstance(actual, dict) else describe(actual, **kw)
    lines = difference(one, other)
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:20])


def rsync_differences(source, target, *more):
    """What rsync would do to make `target` equal `source`."""
    done = subprocess.run(
        ["rsync", "-aHAXn", "--delete", "--itemize-changes", "--checksum", *more, source + "/", target + "/"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode("utf-8", "replace")


def data_map(path):
    """The [begin, end) runs of a file that are no holes."""
    runs = []
    with open(path, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            runs.append((begin, at))
    return runs


def write(path, content, mode=None, mtime_ns=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    if mode is not None:
        os.chmod(path, mode)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))


def words(rng, size):
    """Text that compresses about as well as source code."""
    vocabulary = [b"const", b"return", b"import", b"{\n", b"}\n", b" = ", b"value", b"index", b"();\n", b"// note "]
    out = bytearray()
    while len(out) < size:
        out += rng.choice(vocabulary)
        out += b"%x" % rng.getrandbits(16)
    return bytes(out[:size])


def small_tree(root, seed=1, files=40):
    """A small tree of every plain kind; the same for the same seed."""
    rng = random.Random(seed)
    os.makedirs(root, exist_ok=True)
    for i in range(files):
        name = os.path.join(root, f"d{i % 5}", f"s{i % 3}", f"file{i}")
        write(name, words(rng, rng.randrange(0, 6000)), mtime_ns=1_600_000_000_000_000_000 + rng.randrange(10**12))
    write(os.path.join(root, "copy"), open(os.path.join(root, "d0/s0/file0"), "rb").read())
    os.link(os.path.join(root, "d1/s1/file1"), os.path.join(root, "d2", "hard"))
    os.symlink("d0/s0/file0", os.path.join(root, "soft"))
    os.mkdir(os.path.join(root, "empty"))
    os.chmod(os.path.join(root, "d0/s0/file0"), 0o755)
    return root


def remove(path):
    """Removes whatever is at `path`, at any depth, and never what is mounted below it."""
    subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=False)


def copy(source, target):
    """A copy with every attribute, made by somebody else's program."""
    subprocess.run(["cp", "-a", "--", source, target], check=True)
    return target


def replace_file(path, content):
    """A new inode under the old name."""
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.replace(path + ".new", path)


def clone_store(source, target):
    shutil.copytree(source, target, symlinks=True)
    return target
