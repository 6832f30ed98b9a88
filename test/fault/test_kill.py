"""kill -9 before every call that changes something on disk, in save, restore, merge, sync and rm.

A preloaded library counts those calls over all threads. The step number is walked until the command ends
by itself, so no step is left out, however many there are.
"""

import os
import shutil

import pytest

from driver import stages_in, was_killed
from trees import assert_same, clone_store, copy, describe, difference, small_tree, write

@pytest.fixture
def steps(thaw, interposer):
    """Runs a command, killed before its n-th step; answers whether it was killed."""
    def run(number, *words):
        process = thaw.start(*words, env={"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)})
        out, err = process.communicate(timeout=60)
        assert was_killed(process.returncode) or process.returncode == 0, (number, out, err)
        return was_killed(process.returncode)

    return run


def tiny(root, version):
    """Two versions that differ in every way, in few files: each file costs a run."""
    write(f"{root}/same", b"same")
    write(f"{root}/edited", b"version %d" % version * 50)
    write(f"{root}/sub/only{version}", b"only %d" % version)
    os.link(f"{root}/edited", f"{root}/linked{version}")
    os.symlink(f"to{version}", f"{root}/soft")
    if version == 1:
        write(f"{root}/becomes/a/folder", b"x")
        write(f"{root}/stops", b"file")
    else:
        write(f"{root}/becomes", b"a file")
        write(f"{root}/stops/being", b"one")
        os.chmod(f"{root}/same", 0o600)
    return root


def assert_usable(thaw, work, number, trees, least):
    """The store is whole, and the newest generation is the old one or the new one, to the last bit."""
    if least == 0 and not os.path.exists(f"{thaw.store}/thaw.json"):  # before anything was put
        assert [fault["what"] for fault in thaw.fails(1, "verify")["faults"]] == ["there is no store here"], number
    else:
        assert thaw.ok("verify")["faults"] == [], number
    keys = thaw.ok("ls")["keys"]
    if not keys:
        assert least == 0, number
        return 0
    generation = keys[0]["generation"]
    assert least <= generation <= len(trees), number
    target = f"{work}/check"
    thaw.restore("k", target)
    assert_same(trees[generation - 1], target)
    shutil.rmtree(target)
    return generation


@pytest.mark.parametrize("first", [True, False], ids=["first save", "second save"])
def test_save(thaw, work, steps, first):
    one, two = tiny(f"{work}/one", 1), tiny(f"{work}/two", 2)
    trees = [describe(one), describe(two)]
    if first:
        os.makedirs(thaw.store)
    else:
        thaw.save("k", one)
    clone_store(thaw.store, f"{work}/before")
    seen, number, killed = set(), 0, True
    while killed:
        number += 1
        shutil.rmtree(thaw.store)
        clone_store(f"{work}/before", thaw.store)
        killed = steps(number, "save", "k", one if first else two, "--no-stat-cache")
        seen.add(assert_usable(thaw, work, number, trees, 0 if first else 1))
        # The next save goes through, whatever the killed one left.
        if number % 4 == 0:
            assert thaw.save("k", one if first else two)["generation"] == (1 if first else 2)
    assert number > 10
    assert seen == ({0, 1} if first else {1, 2})


def test_save_with_stat_cache(thaw, work, steps):
    one, two = tiny(f"{work}/tree", 1), tiny(f"{work}/two", 2)
    trees = [describe(one), describe(two)]
    thaw.save("k", one)
    clone_store(thaw.store, f"{work}/before")
    shutil.rmtree(one)
    copy(two, one)
    number, killed = 0, True
    while killed:
        number += 1
        shutil.rmtree(thaw.store)
        clone_store(f"{work}/before", thaw.store)
        killed = steps(number, "save", "k", one)
        if number % 3 and killed:
            continue
        assert_usable(thaw, work, number, trees, 1)
        thaw.save("k", one)
        assert assert_usable(thaw, work, number, trees, 2) == 2
    assert number > 10


def test_rm(thaw, work, steps):
    one, two = tiny(f"{work}/one", 1), tiny(f"{work}/two", 2)
    thaw.save("k", one)
    thaw.save("k", two)
    clone_store(thaw.store, f"{work}/before")
    number, killed = 0, True
    while killed:
        number += 1
        shutil.rmtree(thaw.store)
        clone_store(f"{work}/before", thaw.store)
        killed = steps(number, "rm", "k", "--yes")
        assert thaw.ok("verify")["faults"] == []
        thaw.ok("rm", "k", "--yes") if thaw.ok("ls")["keys"] else None
        assert thaw.ok("ls")["keys"] == []
        assert thaw.save("k", one)["generation"] == 3


@pytest.mark.parametrize("there", [True, False], ids=["over a tree", "into nothing"])
def test_restore_replace(thaw, work, steps, there):
    one, two = tiny(f"{work}/one", 1), tiny(f"{work}/two", 2)
    old, new = describe(one), describe(two)
    thaw.save("k", two)
    place = f"{work}/place"
    target = f"{place}/target"
    seen, number, killed = set(), 0, True
    while killed:
        number += 1
        shutil.rmtree(place, ignore_errors=True)
        os.mkdir(place)
        if there:
            copy(one, target)
        killed = steps(number, "restore", "k", target)
        if os.path.lexists(target):
            found = describe(target)
            which = "new" if not difference(new, found) else "old"
            if which == "old":
                assert there, (number, difference(new, found))
                assert_same(old, found)
        else:
            assert not there, number
            which = "none"
        seen.add(which)
        assert set(os.listdir(place)) <= {"target", *stages_in(place)}
        thaw.restore("k", target)
        assert_same(new, target)
        assert os.listdir(place) == ["target"], number
    assert number > 20
    assert seen == ({"old", "new"} if there else {"none", "new"})


@pytest.mark.parametrize("mode", ["sync", "merge"])
def test_restore_in_place(thaw, work, steps, mode):
    one, two = tiny(f"{work}/one", 1), tiny(f"{work}/two", 2)
    thaw.save("k", two)
    place = f"{work}/place"
    copy(one, place)
    thaw.restore("k", place, "--mode", mode)
    new = describe(place)
    if mode == "sync":
        assert_same(two, new)
    number, killed = 0, True
    while killed:
        number += 1
        shutil.rmtree(place)
        copy(one, place)
        killed = steps(number, "restore", "k", place, "--mode", mode)
        # Every name that both have is there at each moment, and every file is whole: an old one or a new one.
        for name in set(os.listdir(one)) & set(os.listdir(two)):
            assert os.path.lexists(f"{place}/{name}"), (number, name)
        for name in ("same", "edited"):
            if os.path.isfile(f"{place}/{name}"):
                assert open(f"{place}/{name}", "rb").read() in [
                    open(f"{each}/{name}", "rb").read() for each in (one, two)], (number, name)
        thaw.restore("k", place, "--mode", mode)
        assert_same(new, place)
    assert number > 20


@pytest.mark.parametrize("mode", ["replace", "sync", "merge"])
def test_an_abandoned_stage_is_removed(thaw, work, mode):
    tree = small_tree(f"{work}/tree", files=3)
    thaw.save("k", tree)
    target = f"{work}/place/target"
    thaw.restore("k", target)
    stage = f"{target if mode != 'replace' else os.path.dirname(target)}/.thaw-stage-{'0' * 31}1"
    write(f"{stage}/tree/half", b"half a file", mode=0o400)
    os.chmod(f"{stage}/tree", 0o500)
    # What is only named alike is not thaw's.
    write(f"{work}/place/.thaw-stage-notes/mine", b"keep")
    thaw.restore("k", target, "--mode", mode)
    assert not os.path.lexists(stage)
    assert os.path.exists(f"{work}/place/.thaw-stage-notes/mine")
    assert_same(tree, target)


def test_stages_are_never_saved(thaw, work):
    tree = small_tree(f"{work}/tree", files=3)
    first = thaw.save("k", tree)
    time = os.stat(tree).st_mtime_ns
    stage = f"{tree}/.thaw-stage-{'0' * 31}1"
    write(f"{stage}/tree/half", b"half a file")
    os.utime(tree, ns=(time, time))
    answer = thaw.save("k", tree)
    assert answer["snapshot"] == first["snapshot"] and answer["skipped"] == [stage], answer
    assert stage.encode() in thaw.ok("save", "k", tree, json=False).out


def test_what_is_only_named_like_a_stage_is_saved(thaw, work):
    tree = f"{work}/tree"
    for name in ("notes", "", "0" * 31, "0" * 33, "A" * 32, "g" * 32):
        write(f"{tree}/.thaw-stage-{name}/inside", b"mine")
        write(f"{tree}/sub/.thaw-stage-{name}", b"mine")
    write(f"{tree}/sub/.thaw-stage-{'0' * 32}", b"a file")
    assert thaw.save("k", tree)["skipped"] == []
    for mode in ("replace", "sync", "merge"):
        thaw.restore("k", f"{work}/{mode}", "--mode", mode)
        os.unlink(f"{work}/{mode}/.thaw-stage-notes/inside")
        thaw.restore("k", f"{work}/{mode}", "--mode", mode)
        assert_same(tree, f"{work}/{mode}")


def test_restore_child_by_child(thaw, work, steps, as_root):
    """A mount point cannot be swapped: a kill may leave a mix of whole children, which the next run repairs."""
    import mounts

    one, two = tiny(f"{work}/one", 1), tiny(f"{work}/two", 2)
    thaw.save("k", two)
    with mounts.tmpfs(f"{work}/mount", "size=8m,mode=755") as target:
        number, killed = 0, True
        while killed:
            number += 1
            for name in os.listdir(target):
                path = f"{target}/{name}"
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
            copy(one + "/.", target)
            killed = steps(number, "restore", "k", target)
            for name in ("same", "edited", "soft"):
                assert os.path.lexists(f"{target}/{name}"), (number, name)
            assert thaw.restore("k", target)["placement"] == "child_by_child"
            assert_same(two, target)
        assert number > 20


def test_a_lost_answer_publishes_once(thaw, work, interposer):
    """link(2) takes effect and answers EIO: the saver finds its own nonce under the number."""
    tree = small_tree(f"{work}/tree", files=5)
    for number in (1, 2):
        write(f"{tree}/file", b"%d" % number)
        answer = thaw.save("k", tree, env={"LD_PRELOAD": interposer, "INTERPOSE_LOSE_LINK": "/keys/k/@/"})
        assert answer["generation"] == number
        assert thaw.ok("inspect", "k")["generations"] == list(range(number, 0, -1))
    thaw.clean()
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")


@pytest.mark.parametrize("place", ["/packs/", "/manifests/", "/leases/", "thaw.json"])
def test_other_lost_answers(thaw, work, interposer, place):
    tree = f"{work}/tree"
    for i in range(600 if place == "/manifests/" else 3):  # enough for a manifest of its own
        write(f"{tree}/{os.urandom(60).hex()}", b"%d" % i)
    answer = thaw.run("save", "k", tree, env={"LD_PRELOAD": interposer, "INTERPOSE_LOSE_LINK": place})
    if answer.code != 0:  # never half: it says so, and the next one goes through
        assert answer["reason"] == "unavailable", answer
        assert thaw.ok("ls")["keys"] == []
        thaw.save("k", tree)
    thaw.clean()
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
