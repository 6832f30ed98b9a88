"""kill -9 before every call that changes something on disk, in golden promote, clone, unclone, rollback, rm and gc.

Afterwards the next command finds a whole current generation, and nothing is left of what was killed.
"""

import json
import os
import shutil
import subprocess

import mounts
import pytest

from driver import stages_in, was_killed
from goldens import root_of, settled
from trees import assert_same, copy, describe, difference, write


@pytest.fixture
def steps(thaw, interposer):
    """Runs a command, killed before its n-th step; answers whether it was killed."""
    def run(number, *words):
        process = thaw.start("golden", *words, "--threads", "1",
                             env={"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)})
        out, err = process.communicate(timeout=60)
        assert was_killed(process.returncode) or process.returncode == 0, (number, out, err)
        return was_killed(process.returncode)

    return run


def tree(root, version):
    write(f"{root}/file", b"version %d" % version * 50)
    write(f"{root}/sub/only{version}", b"x" * version)
    write(f"{root}/sub/run.pid", b"1")
    os.link(f"{root}/file", f"{root}/linked{version}")
    os.symlink(f"to{version}", f"{root}/soft")
    return root


def generations(thaw):
    """Of the golden g, after recovery: {number: its tree}; and the current number."""
    shown = thaw.run("golden", "show", "g")
    if shown.code == 3:
        return {}, 0
    found = {each["generation"]: each["tree"] for each in shown["generations"]}
    return found, next((each["generation"] for each in shown["generations"] if each["current"]), 0)


def begin(thaw, work, versions):
    """A fresh golden root with these versions promoted, in turn."""
    shutil.rmtree(root_of(thaw), ignore_errors=True)
    shutil.rmtree(f"{work}/place", ignore_errors=True)
    os.mkdir(f"{work}/place")
    for version in versions:
        thaw.ok("golden", "promote", "g", tree(f"{work}/place/dir", version))


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("how", ["moved", "copied"])
def test_promote(request, thaw, work, steps, first, how):
    if how == "copied":
        request.getfixturevalue("as_root")
        place = request.getfixturevalue("other_filesystem")
    else:
        place = f"{work}/place"
    new = 1 if first else 2
    want = describe(tree(f"{work}/want", new))
    want_scrubbed = {name: node for name, node in want.items() if name not in (b"", b"sub", b"sub/run.pid")}
    seen, number, killed = set(), 0, True
    while killed:
        number += 1
        begin(thaw, work, [] if first else [1])
        old = None if first else describe(f"{root_of(thaw)}/g/1/tree")
        source = tree(f"{place}/dir", new)
        write(f"{work}/place/ok", b"")
        killed = steps(number, "promote", "g", source, "--scrub", "*.pid", "--success-file", f"{work}/place/ok")
        found, current = generations(thaw)
        seen.add(current)
        assert current in ((0, 1) if first else (1, 2)), number
        assert sorted(found) == list(range(1, current + 1)), number
        if not first:
            assert_same(old, found[1])
        if current == new:
            now = describe(found[new])
            assert b"sub/run.pid" not in now
            strip = {name: {k: v for k, v in node.items() if k != "mtime"} for name, node in now.items()}
            wanted = {name: {k: v for k, v in node.items() if k != "mtime"} for name, node in want_scrubbed.items()}
            assert not difference(wanted, {name: strip[name] for name in wanted}), number
            thaw.ok("golden", "clone", "g", f"{work}/place/clone")
            assert_same(found[new], f"{work}/place/clone")
        # The directory is where it was, or it is the generation.
        assert os.path.isdir(source) is (how == "copied" or current != new), number
        if os.path.isdir(source):
            assert os.path.exists(f"{source}/file") and os.path.exists(f"{source}/sub/only{new}")
        if os.path.exists(f"{root_of(thaw)}/g/lock"):
            settled(thaw)
        else:  # what the first promotion to get further fills
            assert os.path.isdir(root_of(thaw)) is False or set(os.listdir(root_of(thaw))) <= {"g"}, number
        if os.path.isdir(source):
            assert thaw.ok("golden", "promote", "g", source)["generation"] == current + 1
        shutil.rmtree(source, ignore_errors=True)
    assert number > 10
    assert seen == ({0, 1} if first else {1, 2})


@pytest.fixture
def other_filesystem(work):
    with mounts.tmpfs(f"{work}/other") as place:
        yield place


@pytest.mark.parametrize("there", [True, False], ids=["into an empty folder", "into nothing"])
def test_clone(thaw, work, steps, there):
    seen, number, killed = set(), 0, True
    while killed:
        number += 1
        begin(thaw, work, [1])
        golden = describe(f"{root_of(thaw)}/g/1/tree")
        target = f"{work}/place/a/clone"
        if there:
            os.makedirs(target)
        killed = steps(number, "clone", "g", target)
        whole = os.path.isdir(target) and os.listdir(target) != []
        if whole:
            assert_same(golden, target)
        again = thaw.ok("golden", "clone", "g", target)
        seen.add(again.get("reason"))
        # One that is in place is not made again.
        assert (again.get("reason") == "unchanged") is whole, number
        assert_same(golden, target)
        assert os.listdir(f"{work}/place/a") == ["clone"], number
        settled(thaw)
        assert len(os.listdir(f"{root_of(thaw)}/g/clones")) == 1, number
        assert_same(golden, f"{root_of(thaw)}/g/1/tree")
    assert number > 15
    assert seen == {None, "unchanged"}


def mounts_of(work):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return [line for line in table if f" {work}/" in line]


def test_overlay_clone(thaw, work, steps, as_root):
    number, killed = 0, True
    begin(thaw, work, [1])
    probe = thaw.ok("golden", "clone", "g", f"{work}/place/probe", "--overlay")
    thaw.ok("golden", "unclone", f"{work}/place/probe")
    if probe["method"] != "overlay":
        pytest.skip(f"no overlay here: {probe['fallback']}")
    golden = describe(f"{root_of(thaw)}/g/1/tree")
    target = f"{work}/place/clone"
    while killed:
        number += 1
        killed = steps(number, "clone", "g", target, "--overlay")
        thaw.ok("golden", "clone", "g", target, "--overlay")
        assert len(mounts_of(work)) == 1, number
        assert_same(golden, target)
        settled(thaw)
        assert len(os.listdir(f"{root_of(thaw)}/g/overlays")) == 1, number
        thaw.ok("golden", "unclone", target)
        assert os.listdir(f"{work}/place") == [] and mounts_of(work) == [], number
        assert os.listdir(f"{root_of(thaw)}/g/overlays") == [], number
    assert number > 5


@pytest.mark.parametrize("how", ["copy", "overlay"])
def test_unclone(request, thaw, work, steps, how):
    more = []
    if how == "overlay":
        request.getfixturevalue("as_root")
        more = ["--overlay"]
    number, killed = 0, True
    target = f"{work}/place/clone"
    while killed:
        number += 1
        begin(thaw, work, [1])
        made = thaw.ok("golden", "clone", "g", target, *more)
        if made["method"] not in ("overlay", "copy", "reflink") or (more and made["method"] != "overlay"):
            pytest.skip(f"no overlay here: {made['fallback']}")
        killed = steps(number, "unclone", target)
        again = thaw.run("golden", "unclone", target)
        assert again.code in (0, 3), (number, again)
        if again.code == 3 and os.path.isdir(target):
            # Its mount point, from before the folder was removed: nothing is in it.
            assert os.listdir(target) == [], number
            os.rmdir(target)
        thaw.ok("golden", "ls")
        assert stages_in(f"{work}/place") == [] and mounts_of(work) == [], number
        assert os.listdir(f"{work}/place") == [], number
        settled(thaw)
        assert os.listdir(f"{root_of(thaw)}/g/clones") == [], number
        assert os.listdir(f"{root_of(thaw)}/g/overlays") == [], number
    assert number > 5


def test_rollback(thaw, work, steps):
    seen, number, killed = set(), 0, True
    begin(thaw, work, [1, 2])
    trees = [describe(f"{root_of(thaw)}/g/{each}/tree") for each in (1, 2)]
    while killed:
        number += 1
        thaw.ok("golden", "rollback", "g@2")
        killed = steps(number, "rollback", "g")
        found, current = generations(thaw)
        seen.add(current)
        assert sorted(found) == [1, 2] and current in (1, 2), number
        assert_same(trees[current - 1], found[current])
        settled(thaw)
    assert number > 3
    assert seen == {1, 2}


@pytest.mark.parametrize("words", [("rm", "g@1", "--yes"), ("rm", "g", "--yes"), ("gc", "--keep-last", "0", "--yes")],
                         ids=["rm one", "rm all", "gc"])
def test_removal(thaw, work, steps, words):
    whole = words[:2] == ("rm", "g")
    begin(thaw, work, [1, 2, 3])
    trees = {each: describe(f"{root_of(thaw)}/g/{each}/tree") for each in (1, 2, 3)}
    number, killed = 0, True
    subprocess.run(["cp", "-a", root_of(thaw), f"{work}/before"], check=True)
    while killed:
        number += 1
        shutil.rmtree(root_of(thaw))
        copy(f"{work}/before", root_of(thaw))
        killed = steps(number, *words)
        found, current = generations(thaw)
        assert current == 3 or whole, number
        for each, path in found.items():
            assert_same(trees[each], path)
        settled(thaw)
        # The same again completes it, and the numbers go on.
        thaw.run("golden", *words)
        left, current = generations(thaw)
        assert sorted(left) == ([] if whole else [2, 3] if words[0] == "rm" else [3]), number
        settled(thaw)
        if number % 5 == 0 or not killed:
            assert thaw.ok("golden", "promote", "g", tree(f"{work}/place/dir", 4))["generation"] == 4
    assert number > 10


@pytest.fixture
def btrfs(work, as_root):
    with mounts.in_a_file("btrfs", f"{work}/btrfs", 320) as place:
        yield place


def test_snapshots(thaw, work, steps, btrfs, monkeypatch):
    """Promotions into subvolumes, their clones, and the end of both."""
    root, target = f"{btrfs}/golden", f"{btrfs}/clone"
    monkeypatch.setitem(thaw.env, "THAW_GOLDEN_ROOT", root)
    want = describe(tree(f"{work}/want", 1))
    number, killed = 0, True
    while killed:
        number += 1
        killed = steps(number, "promote", "g", f"{work}/want", "--stamp", "stamp")
        found, current = generations(thaw)
        if current == 0:
            assert not found
            continue
        assert current == max(found), number
        now = describe(found[current])
        assert not difference({k: v for k, v in want.items() if k != b""},
                              {k: v for k, v in now.items() if k not in (b"", b"stamp")}), number
        assert not [each for each in os.listdir(f"{root}/g") if each.startswith(".")], number
        thaw.ok("golden", "gc", "--keep-last", "0", "--yes")
    assert number > 15
    golden = describe(found[current])
    clones, killed, seen = 0, True, set()
    while killed:
        clones += 1
        killed = steps(clones, "clone", "g", target)
        again = thaw.ok("golden", "clone", "g", target)
        seen.add(again.get("reason"))
        assert_same(golden, target)
        records = [each for each in os.listdir(f"{root}/g/clones") if each.endswith(".json")]
        assert len(records) == 1, clones
        steps(clones, "unclone", target)
        thaw.run("golden", "unclone", target)
        assert not os.path.exists(target) and stages_in(btrfs) == [], clones
    assert seen == {None, "unchanged"}
    thaw.ok("golden", "ls")
    assert os.listdir(f"{root}/g/clones") == []
    removals, killed = 0, True
    while killed:
        removals += 1
        thaw.run("golden", "promote", "g", f"{work}/want")
        killed = steps(removals, "rm", "g", "--yes")
        thaw.run("golden", "rm", "g", "--yes")
        left = [each for each in os.listdir(f"{root}/g") if each.startswith(".") or each.isdigit()]
        assert left == [], removals


def test_fetch(thaw, work, steps, monkeypatch):
    begin(thaw, work, [1])
    thaw.ok("golden", "publish", "g")
    golden = describe(f"{root_of(thaw)}/g/1/tree")
    monkeypatch.setitem(thaw.env, "THAW_GOLDEN_ROOT", f"{work}/other")
    number, killed, seen = 0, True, set()
    while killed:
        number += 1
        shutil.rmtree(f"{work}/other", ignore_errors=True)
        killed = steps(number, "warm", "g")
        answer = thaw.ok("golden", "warm", "g")["goldens"][0]
        seen.add(answer["fetched"])
        # Killed between the move and the switch it is completed, and not fetched once more.
        assert answer["generation"] == 1, number
        assert_same(golden, f"{work}/other/g/1/tree")
        left = os.listdir(f"{work}/other/g")
        assert not [each for each in left if each.startswith(".") or each.endswith(".new")], (number, left)
    assert number > 20
    assert seen == {True, False}


def test_publish(thaw, work, steps):
    begin(thaw, work, [1])
    number, killed = 0, True
    while killed:
        number += 1
        shutil.rmtree(thaw.store, ignore_errors=True)
        killed = steps(number, "publish", "g")
        answer = thaw.ok("golden", "publish", "g")
        with open(f"{root_of(thaw)}/g/1/golden.json", encoding="utf-8") as file:
            assert json.load(file)["snapshot"] == answer["published"]["snapshot"], number
        assert answer["published"]["generation"] <= 2, number
        settled(thaw)
    assert number > 10
    thaw.clean()
