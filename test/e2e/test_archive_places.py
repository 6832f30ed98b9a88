"""What archives meet on a disk: closed folders, mounts, other owners, no room, few links, holes of a petabyte."""

import os
import re
import shutil
import subprocess

import pytest

import mounts
from archives import archive, file, folder, hard_link
from driver import Thaw, stages_in
from trees import assert_same, data_map, describe, small_tree, write

pytestmark = pytest.mark.asan

NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


def everything_in(target):
    """For who is not root: all of it, whatever the modes."""
    subprocess.run(["chown", "-R", "65534:65534", target], check=True)


@pytest.mark.parametrize("mode", ["merge", "sync"])
def test_closed_folders_are_no_obstacle_for_their_owner(work, as_root, mode):
    """DIR, folders in it and folders of the archive that may not be read or changed."""
    os.chmod(work, 0o777)
    user = Thaw(f"{work}/u")
    out = f"{work}/u/out"
    write(f"{out}/both/old", b"old")
    write(f"{out}/becomes/old", b"a folder")
    write(f"{out}/implied/old", b"old")
    for name, bits in (("both", 0o000), ("becomes", 0o500), ("implied", 0o511), ("", 0o555)):
        os.chmod(f"{out}/{name}", bits)
    write(f"{work}/u/archive", archive(
        folder(b"both", mode=0o500), file(b"both/new", b"new"), folder(b"fresh", mode=0o555), file(b"fresh/a", b"a"),
        folder(b"dark", mode=0o000), file(b"becomes", b"a file"), file(b"implied/new", b"new")))
    everything_in(f"{work}/u")
    user.ok("archive", "get", f"{work}/u/archive", out, "--mode", mode, **NOBODY)
    bits = {name: os.stat(f"{out}/{name}").st_mode & 0o777 for name in ("", "both", "fresh", "dark", "implied")}
    assert bits == {"": 0o555, "both": 0o500, "fresh": 0o555, "dark": 0o000, "implied": 0o511}
    assert os.path.isfile(f"{out}/becomes") and os.path.exists(f"{out}/fresh/a") and os.path.exists(f"{out}/both/new")
    assert os.path.exists(f"{out}/both/old") is (mode == "merge")
    assert stages_in(out) == []


def test_mounts_that_are_not_in_the_way(thaw, work, as_root):
    """As in a restore: merge leaves alone what the archive does not name."""
    write(f"{work}/archive", archive(folder(b"a"), file(b"a/b", b"x"), file(b"c", b"y")))
    out = f"{work}/out"
    with mounts.tmpfs(f"{out}/a/mount") as mount, mounts.tmpfs(f"{out}/other/deep") as other:
        write(f"{mount}/precious", b"precious")
        write(f"{other}/precious", b"precious")
        thaw.ok("archive", "get", f"{work}/archive", out, "--mode", "merge")
        assert os.path.exists(f"{out}/a/b") and os.path.exists(f"{mount}/precious")
        before = describe(out)
        answer = thaw.fails(4, "archive", "get", f"{work}/archive", out, "--mode", "sync")
        assert answer["reason"] == "busy" and "mount" in answer["message"] and answer["applied"] is False
        assert_same(before, out)
        assert stages_in(out) == []


@pytest.mark.parametrize("entries", [
    (folder(b"mount"),), (file(b"mount/f", b"x"),), (file(b"mount/in/it", b"x"),), (file(b"mount", b"x"),)])
def test_mounts_that_are_in_the_way(thaw, work, as_root, entries):
    write(f"{work}/archive", archive(file(b"0", b"x"), *entries))
    out = f"{work}/out"
    with mounts.tmpfs(f"{out}/mount") as mount:
        write(f"{mount}/in/precious", b"precious")
        before = describe(out)
        for mode in ("merge", "sync"):
            answer = thaw.fails(4, "archive", "get", f"{work}/archive", out, "--mode", mode)
            assert answer["reason"] == "busy" and f"{out}/mount" in answer["message"] and answer["applied"] is False
            assert_same(before, out)
        assert stages_in(out) == []


def test_no_merge_changes_a_folder_that_no_entry_names(thaw, work):
    write(f"{work}/archive", archive(file(b"d/new", b"x", mtime=5)))
    write(f"{work}/out/d/old", b"old")
    os.chmod(f"{work}/out/d", 0o710)
    thaw.ok("archive", "get", f"{work}/archive", f"{work}/out", "--mode", "merge")
    assert os.stat(f"{work}/out/d").st_mode & 0o7777 == 0o710
    assert os.stat(f"{work}/out/d").st_mtime != 5


def test_attributes_of_files_that_their_owner_may_not_write(work, as_root):
    os.chmod(work, 0o777)
    user = Thaw(f"{work}/u")
    tree = f"{work}/u/tree"
    write(f"{tree}/d/f", b"x")
    try:
        os.setxattr(f"{tree}/d/f", "user.comment", b"kept")
        os.setxattr(f"{tree}/d", "user.comment", b"kept")
    except OSError:
        pytest.skip("no attributes here")
    os.chmod(f"{tree}/d/f", 0o444)
    os.chmod(f"{tree}/d", 0o555)
    everything_in(f"{work}/u")
    user.ok("archive", "put", tree, f"{work}/u/a.tar", **NOBODY)
    answer = user.ok("archive", "get", f"{work}/u/a.tar", f"{work}/u/out", **NOBODY)
    assert answer["attributes_skipped"] == 0
    assert_same(tree, f"{work}/u/out")
    user.save("k", tree, **NOBODY)
    user.restore("k", f"{work}/u/restored", **NOBODY)
    assert_same(tree, f"{work}/u/restored")
    for out in ("out", "restored"):
        assert os.getxattr(f"{work}/u/{out}/d/f", "user.comment") == b"kept"
        assert os.getxattr(f"{work}/u/{out}/d", "user.comment") == b"kept"


def test_no_room_names_the_file_that_found_none(thaw, work, as_root):
    """Files are written behind the reader's back, which is at another entry by then."""
    with mounts.tmpfs(f"{work}/small", "size=8m") as small:
        write(f"{work}/archive", archive(file(b"filler", os.urandom(7 << 20)), file(b"finds-none", os.urandom(1 << 20)),
                                         *[file(b"later%d" % i, b"x") for i in range(3000)]))
        answer = thaw.fails(4, "archive", "get", f"{work}/archive", f"{small}/out")
        assert answer["reason"] == "exhausted", answer
        named = re.findall(r"entry ([^ :]+)", answer["message"])
        assert len(named) == 1 and re.search(f"(write|create).*{named[0]}|entry {named[0]}: create", answer["message"]), answer
        assert os.listdir(small) == []


def test_a_filesystem_has_no_more_names_for_a_file(thaw, work, interposer):
    write(f"{work}/archive", archive(file(b"a", b"x"), hard_link(b"b", b"a"), hard_link(b"one-too-many", b"a")))
    env = {"LD_PRELOAD": interposer, "INTERPOSE_REFUSE_LINK": "one-too-many"}
    answer = thaw.fails(4, "archive", "get", f"{work}/archive", f"{work}/out", env=env)
    assert answer["reason"] == "exhausted" and "one-too-many" in answer["message"], answer
    assert "as many names as a file can have" in answer["message"], answer
    assert not os.path.exists(f"{work}/out")


def test_an_archive_in_the_directory_is_no_part_of_it(thaw, work):
    tree = small_tree(f"{work}/tree", files=5)
    for name in ("a.tar", "d0/a.tgz"):
        thaw.ok("archive", "put", tree, f"{tree}/{name}")
        before = os.path.getsize(f"{tree}/{name}")
        answer = thaw.ok("archive", "put", tree, f"{tree}/{name}")
        assert f"{tree}/{name}" in answer["skipped"]
        # The old one is random to a packer: with it, it would be twice as large.
        assert os.path.getsize(f"{tree}/{name}") < 1.5 * before
        thaw.ok("archive", "get", f"{tree}/{name}", f"{work}/out")
        assert not os.path.exists(f"{work}/out/{name}")
        os.unlink(f"{tree}/{name}")


def test_holes_are_not_read(thaw, work):
    """A petabyte of nothing, which nobody reads, writes or waits for."""
    for name, size, runs in (("start", 1 << 50, [0]), ("middle", 1 << 50, [1 << 40]), ("end", 1 << 50, [(1 << 50) - 5000]),
                             ("none", 1 << 50, []), ("many", 1 << 42, [i << 38 for i in range(1, 16)])):
        os.makedirs(f"{work}/tree", exist_ok=True)
        with open(f"{work}/tree/{name}", "wb") as out:
            try:
                out.truncate(size)
            except OSError:
                pytest.skip("no files of a petabyte here")
            for at in runs:
                out.seek(at)
                out.write(os.urandom(5000))
    maps = {name: data_map(f"{work}/tree/{name}") for name in os.listdir(f"{work}/tree")}
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar")
    thaw.ok("archive", "get", f"{work}/a.tar", f"{work}/out")
    assert {name: data_map(f"{work}/out/{name}") for name in maps} == maps
    for name, at in (("middle", 1 << 40), ("end", (1 << 50) - 5000), ("start", 0), ("many", 3 << 38)):
        for one, other in ((f"{work}/tree/{name}", f"{work}/out/{name}"),):
            with open(one, "rb") as a, open(other, "rb") as b:
                a.seek(at)
                b.seek(at)
                assert a.read(5000) == b.read(5000)

    # An import takes 8 TiB of large files.
    shutil.rmtree(f"{work}/out")
    for name in ("start", "middle", "end", "none"):
        os.unlink(f"{work}/tree/{name}")
    with open(f"{work}/tree/none", "wb") as out:
        out.truncate(1 << 41)
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar", "--allow-shrink")
    thaw.ok("archive", "import", f"{work}/a.tar", "k")
    thaw.ok("archive", "export", "k", f"{work}/b.tar")
    thaw.ok("archive", "get", f"{work}/b.tar", f"{work}/out")
    for name in ("many", "none"):
        assert data_map(f"{work}/out/{name}") == data_map(f"{work}/tree/{name}")
    with open(f"{work}/out/many", "rb") as a, open(f"{work}/tree/many", "rb") as b:
        a.seek(15 << 38)
        b.seek(15 << 38)
        assert a.read(5000) == b.read(5000)
