"""A tree with every attribute survives save and restore, as rsync and our own walk see it."""

import errno
import os
import random
import shutil
import socket
import stat
import struct
import subprocess

import pytest

from trees import assert_same, data_map, describe, rsync_differences, small_tree, words, write

ON_DISK = True  # see conftest.py: a filesystem that people use
MIB = 1 << 20
NAMES = [b"new\nline", b"tab\there", b" leading space", b"trailing ", b"-rf", b"--store", b"\xff\xfe\x80bad utf-8",
         b"\x01control", b"\\backslash\\", b'"quotes"', b"'", b"$(touch x)", b"*", b"...", b"~", b"n" * 255,
         "ünï".encode(), "u\u0308".encode(), b"con", b"a@b", b"semi;colon"]
TIMES = [0, 1, -1, -1_000_000_000, -2_000_000_000 * 10**9 + 123_456_789, 1_600_000_000_123_456_789,
         9_000_000_000 * 10**9 + 987_654_321]


def set_time(path, ns):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


def try_xattr(path, name, value):
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def contents(root, rng):
    write(f"{root}/sizes/zero", b"")
    write(f"{root}/sizes/one", b"x")
    write(f"{root}/sizes/leaf", rng.randbytes(MIB))
    write(f"{root}/sizes/leaf and one", rng.randbytes(MIB + 1))
    write(f"{root}/sizes/random", rng.randbytes(9 * MIB))
    write(f"{root}/sizes/text", words(rng, 9 * MIB))
    write(f"{root}/sizes/zeros", b"\0" * (2 * MIB))
    for i in range(60):
        write(f"{root}/many/d{i % 7}/f{i}", words(rng, rng.randrange(1, 9000)))


def structure(root):
    os.makedirs(f"{root}/deep/er/and/deeper/empty")
    os.makedirs(f"{root}/void")
    for target, name in [("nowhere/at/all", "dangling"), ("/etc/passwd", "absolute"), ("loop", "loop"),
                         ("loop2b", "loop2a"), ("loop2a", "loop2b"), ("../sizes", "to folder"), (".", "dot"),
                         ("t" * 4000, "long")]:
        os.makedirs(f"{root}/links", exist_ok=True)
        os.symlink(target, f"{root}/links/{name}")
    os.symlink(b"\xff\xfe", f"{root}/links/bytes".encode())
    write(f"{root}/hard/a/first", b"hard linked")
    os.makedirs(f"{root}/hard/b")
    os.link(f"{root}/hard/a/first", f"{root}/hard/a/second")
    os.link(f"{root}/hard/a/first", f"{root}/hard/b/third")
    os.link(f"{root}/hard/a/first", f"{root}/AAA sorts first")
    os.link(f"{root}/links/dangling", f"{root}/hard/b/linked symlink", follow_symlinks=False)
    os.mkfifo(f"{root}/fifo")
    os.link(f"{root}/fifo", f"{root}/hard/fifo")


def modes_times_names(root):
    for mode in (0o000, 0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644):
        write(f"{root}/modes/f{mode:o}", b"%o" % mode)
        os.chmod(f"{root}/modes/f{mode:o}", mode)
    for mode in (0o000, 0o555, 0o700, 0o1777, 0o2775):
        os.mkdir(f"{root}/modes/d{mode:o}")
        os.chmod(f"{root}/modes/d{mode:o}", mode)
    for name in NAMES:
        path = root.encode() + b"/names/"
        os.makedirs(path, exist_ok=True)
        with open(path + name, "wb") as file:
            file.write(name)
        os.makedirs(path + b"dirs/" + name)
        os.symlink(name, path + b"dirs/" + name + b"/l")
    for i, ns in enumerate(TIMES):
        write(f"{root}/times/f{i}", b"")
        os.mkdir(f"{root}/times/d{i}")
        os.symlink("x", f"{root}/times/l{i}")
        for kind in "fdl":
            set_time(f"{root}/times/{kind}{i}", ns)


def sparse(root):
    os.makedirs(f"{root}/sparse")
    for name, size, places in [("hole only", 50 * MIB, []), ("begin", 20 * MIB, [0]), ("end", 20 * MIB, [20 * MIB - 5]),
                               ("middle", 64 * MIB, [7 * MIB, 33 * MIB + 12345]), ("small", 300_000, [100_000])]:
        with open(f"{root}/sparse/{name}", "wb") as file:
            file.truncate(size)
            for at in places:
                file.seek(at)
                file.write(b"data!")


def attributes(root):
    write(f"{root}/xattr/file", b"with attributes")
    os.mkdir(f"{root}/xattr/dir")
    for path in ("xattr/file", "xattr/dir"):
        try_xattr(f"{root}/{path}", "user.text", b"value")
        try_xattr(f"{root}/{path}", "user.empty", b"")
        try_xattr(f"{root}/{path}", "user.binary", bytes(range(256)))
        try_xattr(f"{root}/{path}", "user." + "n" * 100, b"long name")
    for name in ("acl file", "acl dir"):
        path = f"{root}/xattr/{name}"
        write(path, b"acl") if name == "acl file" else os.mkdir(path)
        done = subprocess.run(["setfacl", "-m", "u:12:rw,g:34:r,m:rw", path], stderr=subprocess.DEVNULL, check=False)
        if done.returncode == 0 and name == "acl dir":
            subprocess.run(["setfacl", "-d", "-m", "u::rwx,g::rx,o::-,u:56:rwx,m:rwx", path], check=True)
            write(f"{path}/inherits", b"")
            os.mkdir(f"{path}/inherits too")
            write(f"{path}/plain", b"")
            subprocess.run(["setfacl", "-b", f"{path}/plain"], check=True)


def privileged(root):
    os.makedirs(f"{root}/root")
    os.mknod(f"{root}/root/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(f"{root}/root/big", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    for i, (uid, gid) in enumerate([(1, 2), (65534, 65534), (4_000_000_000, 3_999_999_999), (0, 7)]):
        write(f"{root}/root/owned{i}", b"whose")
        os.chown(f"{root}/root/owned{i}", uid, gid)
        os.chmod(f"{root}/root/owned{i}", 0o6755)
        os.mkdir(f"{root}/root/dir{i}")
        os.chown(f"{root}/root/dir{i}", uid, gid)
        os.symlink("x", f"{root}/root/link{i}")
        os.chown(f"{root}/root/link{i}", uid, gid, follow_symlinks=False)
    try_xattr(f"{root}/root/owned0", "trusted.thaw", b"trusted")
    try_xattr(f"{root}/root/link0", "trusted.thaw", b"on a link")
    try_xattr(f"{root}/root/dir0", "trusted.thaw", b"on a folder")
    try_xattr(f"{root}/root/owned1", "security.capability", struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0))


def everything(root):
    seed = 20261121
    print("seed", seed)
    os.mkdir(root)
    structure(root)
    contents(root, random.Random(seed))
    modes_times_names(root)
    sparse(root)
    attributes(root)
    if os.geteuid() == 0:
        privileged(root)
        os.chown(root, 33, 44)
    os.chmod(root, 0o2751)
    for folder in ("", "hard", "void", "modes", "xattr/dir"):
        set_time(os.path.join(root, folder), 1_234_567_890_987_654_321)
    return root


@pytest.mark.asan
def test_every_attribute(thaw, work, as_root):
    tree = everything(f"{work}/tree")
    held = socket.socket(socket.AF_UNIX)
    held.bind(f"{tree}/void/socket")
    set_time(f"{tree}/void", 1_234_567_890_987_654_321)
    before = describe(tree)
    saved = thaw.save("t", tree)
    assert saved["sockets_skipped"] == 1
    assert saved["files"] == sum(stat.S_ISREG(n["mode"]) for n in before.values())
    assert saved["dirs"] == sum(stat.S_ISDIR(n["mode"]) for n in before.values())
    assert_same(before, tree)  # saving changes nothing
    held.close()
    os.unlink(f"{tree}/void/socket")
    set_time(f"{tree}/void", 1_234_567_890_987_654_321)

    restored = thaw.restore("t", f"{work}/out")
    assert restored["attributes_skipped"] == 0
    assert restored["placement"] == "swapped"
    assert_same(before, f"{work}/out")
    assert rsync_differences(tree, f"{work}/out") == ""
    assert rsync_differences(f"{work}/out", tree) == ""
    for name in os.listdir(f"{tree}/sparse"):
        one, other = (f"{each}/sparse/{name}" for each in (tree, f"{work}/out"))
        assert data_map(one) == data_map(other), name
        assert os.stat(other).st_blocks <= os.stat(one).st_blocks + 16, name

    thaw.clean()
    # The other ways of making it give the same.
    for mode in ("merge", "sync"):
        os.mkdir(f"{work}/{mode}")
        thaw.restore("t", f"{work}/{mode}", "--mode", mode)
        assert_same(before, f"{work}/{mode}")
        assert rsync_differences(tree, f"{work}/{mode}") == ""
    # What was restored is the same snapshot.
    again = thaw.save("t", f"{work}/out")
    assert again["reason"] == "unchanged", again
    assert again["snapshot"] == saved["snapshot"]


def test_sparse_blocks_stay_unallocated(thaw, work):
    os.mkdir(f"{work}/tree")
    sparse(f"{work}/tree")
    thaw.save("t", f"{work}/tree")
    thaw.restore("t", f"{work}/out")
    for name in os.listdir(f"{work}/tree/sparse"):
        one, other = (f"{work}/{each}/sparse/{name}" for each in ("tree", "out"))
        assert os.stat(one).st_size == os.stat(other).st_size
        assert data_map(one) == data_map(other), name


def test_ten_thousand_copies_of_one_file(thaw, work):
    content = random.Random(5).randbytes(3000)
    for i in range(10_000):
        if i % 1000 == 0:
            os.makedirs(f"{work}/tree/{i // 1000}")
        with open(f"{work}/tree/{i // 1000}/{i}", "wb") as file:
            file.write(content)
    saved = thaw.save("t", f"{work}/tree")
    assert saved["files"] == 10_000
    assert saved["new_bytes"] < 10_000
    thaw.restore("t", f"{work}/out")
    assert_same(f"{work}/tree", f"{work}/out")


def test_path_deeper_than_path_max(thaw, work):
    depth, name = 40, b"d" * 200  # 8,000 bytes of path
    os.mkdir(f"{work}/tree")
    fd = os.open(f"{work}/tree", os.O_RDONLY)
    for i in range(depth):
        os.mkdir(name, dir_fd=fd)
        child = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
        for kind in (b"file", b"other"):
            with os.fdopen(os.open(kind, os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd), "wb") as file:
                file.write(b"%d" % i)
        os.symlink(b"file", b"link", dir_fd=fd)
    os.link(b"file", b"hard", src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)
    thaw.save("t", f"{work}/tree")
    thaw.restore("t", f"{work}/out")
    before = describe(f"{work}/tree")
    assert len(before) == 1 + depth * 4 + 1
    assert_same(before, f"{work}/out")
    os.mkdir(f"{work}/synced")
    thaw.restore("t", f"{work}/synced", "--mode", "sync")
    assert_same(before, f"{work}/synced")
    # Replacing it removes it.
    write(f"{work}/flat/one", b"1")
    thaw.save("flat", f"{work}/flat")
    thaw.restore("flat", f"{work}/out")
    assert os.listdir(f"{work}/out") == ["one"]
    assert [e for e in os.listdir(work) if e.startswith(".thaw-stage")] == []
    assert thaw.restore("flat", f"{work}/synced", "--mode", "sync")["removed"] >= 1
    assert os.listdir(f"{work}/synced") == ["one"]


def test_ids_are_a_function_of_the_tree_alone(thaw, work):
    tree = small_tree(f"{work}/tree", seed=3)
    one = thaw.save("a", tree, "--threads", "1")
    two = thaw.save("b", tree, "--threads", "4", "--no-stat-cache", "--store", f"{work}/other store")
    write(f"{work}/x/y", b"base")
    thaw.save("base", f"{work}/x")
    three = thaw.save("c", tree, "--base", "base")
    assert one["snapshot"] == two["snapshot"] == three["snapshot"]
    assert one["content"] == two["content"] == three["content"]
    set_time(f"{tree}/copy", 5)
    touched = thaw.save("a", tree)
    assert touched["snapshot"] != one["snapshot"]
    assert touched["content"] == one["content"]


def test_ownership_of_a_plain_user(work, as_root):
    """Somebody who is not root restores as himself, and hears of what was left out."""
    from driver import Thaw

    nobody = 65534
    os.chmod(work, 0o777)
    root_thaw = Thaw(f"{work}/root")
    tree = f"{work}/tree"
    write(f"{tree}/file", b"content", mode=0o4755)
    os.chown(f"{tree}/file", 12, 34)
    os.mknod(f"{tree}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    try_xattr(f"{tree}/file", "user.keep", b"kept")
    try_xattr(f"{tree}/file", "trusted.lost", b"lost")
    root_thaw.save("t", tree, "--store", f"{work}/store")
    subprocess.run(["chmod", "-R", "a+rX", f"{work}/store"], check=True)

    os.mkdir(f"{work}/user")
    os.chown(f"{work}/user", nobody, nobody)
    shutil.copytree(root_thaw.cwd, f"{work}/user/cwd")
    for folder in ("home",):
        os.mkdir(f"{work}/user/{folder}")
        os.chown(f"{work}/user/{folder}", nobody, nobody)
    user = Thaw(f"{work}/user")
    answer = user.restore("t", f"{work}/user/out", "--store", f"{work}/store", user=nobody, group=nobody, extra_groups=[])
    status = os.stat(f"{work}/user/out/file")
    assert (status.st_uid, status.st_gid) == (nobody, nobody)
    assert open(f"{work}/user/out/file", "rb").read() == b"content"
    assert os.getxattr(f"{work}/user/out/file", "user.keep") == b"kept"
    assert answer["attributes_skipped"] >= 1, answer
    assert not os.path.lexists(f"{work}/user/out/null")


def test_no_owner_and_no_xattrs(thaw, work, as_root):
    tree = f"{work}/tree"
    write(f"{tree}/file", b"content")
    os.chown(f"{tree}/file", 12, 34)
    os.setxattr(f"{tree}/file", "user.a", b"b")
    thaw.save("t", tree)
    thaw.restore("t", f"{work}/plain", "--no-owner", "--no-xattrs")
    status = os.stat(f"{work}/plain/file")
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert os.listxattr(f"{work}/plain/file") == []
    thaw.restore("t", f"{work}/owned", "--no-xattrs")
    assert os.stat(f"{work}/owned/file").st_uid == 12
    assert os.listxattr(f"{work}/owned/file") == []
    # What was left out is not forgotten by the stat cache: this tree differs from the snapshot.
    assert thaw.save("t", f"{work}/plain").get("reason") != "unchanged"


def test_times_that_64_bits_of_nanoseconds_cannot_hold(thaw, work):
    write(f"{work}/tree/file", b"")
    set_time(f"{work}/tree/file", 13_000_000_000 * 10**9)
    if os.stat(f"{work}/tree/file").st_mtime < 12_000_000_000:
        pytest.skip("this filesystem does not know the year 2381")
    thaw.save("t", f"{work}/tree")
    thaw.restore("t", f"{work}/out")
    # The nearest that the format can say: the end of 2261.
    assert 9_223_372_000 < os.stat(f"{work}/out/file").st_mtime < 9_223_372_037
