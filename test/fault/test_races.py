"""Several at once: savers of one key, writers in the source, Ctrl-C in the middle."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import threading
import time

import pytest

from driver import Answer, stages_in
from trees import assert_same, describe, small_tree, words, write


def wait_for(condition, seconds=30):
    """Polls without sleeping longer than a tick of the scheduler."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        os.sched_yield()


def finish(process, words=()):
    out, err = process.communicate(timeout=120)
    return Answer(words, process.returncode, out, err)


@pytest.mark.asan
def test_eight_savers_of_one_key(thaw, work):
    trees = [small_tree(f"{work}/tree{i}", seed=i, files=10) for i in range(8)]
    processes = [thaw.start("save", "k", tree, "--threads", "2") for tree in trees]
    answers = [finish(process) for process in processes]
    assert all(answer.code == 0 for answer in answers), answers
    assert sorted(answer["generation"] for answer in answers) == list(range(1, 9))
    for tree, answer in zip(trees, answers):
        assert "reason" not in answer.object
        thaw.restore(f"k@{answer['generation']}", f"{work}/out")
        assert_same(tree, f"{work}/out")
    thaw.clean()
    assert thaw.objects("leases") == []


def test_eight_savers_of_one_tree(thaw, work):
    """Equal trees at once: each is published or found unchanged, and all are whole."""
    tree = small_tree(f"{work}/tree")
    answers = [finish(process) for process in [thaw.start("save", "k", tree) for _ in range(8)]]
    assert all(answer.code == 0 for answer in answers), answers
    assert len({answer["snapshot"] for answer in answers}) == 1
    thaw.clean()
    assert thaw.save("k", tree)["reason"] == "unchanged"


def test_restores_into_one_target(thaw, work):
    """Whoever comes last: the target is one of the trees, whole, and nothing is left beside it."""
    trees = [small_tree(f"{work}/tree{i}", seed=i, files=15) for i in range(2)]
    for i, tree in enumerate(trees):
        thaw.save(f"k{i}", tree)
    target = f"{work}/place/target"
    write(f"{target}/old", b"old")
    expected = [describe(tree) for tree in trees]
    for _ in range(4):
        answers = [finish(p) for p in [thaw.start("restore", f"k{i % 2}", target) for i in range(6)]]
        assert {answer.code for answer in answers} <= {0, 4}, answers
        assert any(answer.code == 0 for answer in answers)
        assert describe(target) in expected
        thaw.restore("k0", target)
        assert os.listdir(f"{work}/place") == ["target"]


def test_a_file_that_always_changes_is_busy(thaw, work):
    tree = small_tree(f"{work}/tree", files=5)
    path = f"{tree}/grows and grows"
    write(path, os.urandom(32 << 20))  # so long that a busy machine's writer has its turn in each reading
    stop = threading.Event()

    def append():
        with open(path, "r+b", buffering=0) as file:
            while not stop.is_set():
                file.seek(0)
                file.write(os.urandom(64))
                os.utime(path)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        for _ in range(5):  # where the machine starves the writer, a reading may find it still
            answer = thaw.run("save", "k", tree)
            if answer.code == 4:
                break
    finally:
        stop.set()
        writer.join()
    assert answer.code == 4 and answer["reason"] == "busy" and "grows and grows" in answer["message"], answer
    thaw.save("k", tree)
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")


def test_names_that_come_and_go(thaw, work):
    """Files vanish and appear while they are listed and read: a snapshot of what was there, or busy."""
    tree = small_tree(f"{work}/tree")
    stop = threading.Event()

    def churn():
        rng = random.Random(1)
        while not stop.is_set():
            path = f"{tree}/d{rng.randrange(5)}/s0/temporary{rng.randrange(20)}"
            try:
                if rng.randrange(2):
                    write(path, b"temporary")
                elif rng.randrange(2):
                    os.rename(path, path + "x")
                    os.unlink(path + "x")
                else:
                    os.unlink(path)
            except FileNotFoundError:
                pass

    worker = threading.Thread(target=churn)
    worker.start()
    try:
        for i in range(15):
            answer = thaw.run("save", "k", tree, *(["--no-stat-cache"] if i % 2 else []))
            assert answer.code in (0, 4), answer
            if answer.code == 4:
                assert answer["reason"] == "busy", answer
    finally:
        stop.set()
        worker.join()
    thaw.clean()
    thaw.save("k", tree)
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
    assert thaw.save("k", tree)["reason"] == "unchanged"


def test_a_torn_file_is_never_trusted(thaw, work):
    """A reading may meet a write(2) half done, which no stat tells: what comes after must not build on it."""
    size = 3 << 20
    tree = f"{work}/tree"
    path = f"{tree}/file"
    write(path, b"a" * size)
    stop = threading.Event()

    def rewrite():
        letters = 0
        while not stop.is_set():
            with open(path, "r+b", buffering=0) as file:
                file.write((b"a", b"b")[letters % 2] * size)
            letters += 1
            stop.wait(0.01)

    writer = threading.Thread(target=rewrite)
    writer.start()
    kept = []
    try:
        for _ in range(12):
            answer = thaw.run("save", "k", tree)
            assert answer.code in (0, 4), answer
            kept += [answer["generation"]] if answer.code == 0 else []
    finally:
        stop.set()
        writer.join()
    final = open(path, "rb").read()
    assert final in (b"a" * size, b"b" * size)
    answer = thaw.save("k", tree)
    thaw.restore("k", f"{work}/out")
    assert open(f"{work}/out/file", "rb").read() == final, answer
    for generation in set(kept):
        thaw.restore(f"k@{generation}", f"{work}/out")
        content = open(f"{work}/out/file", "rb").read()
        assert len(content) == size and set(content) <= set(b"ab")
    thaw.clean()


@contextlib.contextmanager
def exchanging(*pairs):
    """Names that change places for as long as it takes."""
    libc = ctypes.CDLL(None, use_errno=True)
    stop = threading.Event()
    names = [(one.encode(), other.encode()) for one, other in pairs]
    at_cwd, exchange = -100, 2

    def swap():
        while not stop.is_set():
            for one, other in names:
                if libc.renameat2(at_cwd, one, at_cwd, other, exchange) != 0:
                    return

    worker = threading.Thread(target=swap)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


@pytest.mark.parametrize("other", ["link in the tree", "link out of the tree", "file", "folder out of the tree"])
@pytest.mark.parametrize("what", ["folder", "file", "link", "large file"])
def test_names_that_become_something_else(thaw, work, what, other):
    """A save that meets one takes it as it was at one moment, or is busy and names it."""
    tree = f"{work}/tree"
    for i in range(300):  # enough folders that some lie between two looks at the one that changes
        write(f"{tree}/{'ab'[i % 2]}{i}/file", b"%d" % i)
    name = f"{tree}/b one"
    if what == "folder":
        for i in range(30):
            write(f"{name}/f{i}", b"in the folder")
            write(f"{name}/sub/f{i}", b"deeper")
    elif what == "link":
        os.symlink("nowhere", name)
    else:
        write(name, b"file" * (1 if what == "file" else 3 << 20))
    aside = f"{tree}/a other" if other != "folder out of the tree" else f"{work}/outside"
    if other == "file":
        write(aside, b"another file")
    elif other == "folder out of the tree":
        write(f"{aside}/inside", b"outside")
    else:
        os.symlink("a0" if other == "link in the tree" else work, aside)
    answers = []
    with exchanging((name, aside)):
        for _ in range(12):
            answers.append(thaw.run("save", "k", tree, "--threads", "2", "--allow-shrink", "--no-stat-cache"))
    for answer in answers:
        assert answer.code in (0, 4), answer
        if answer.code == 4:
            assert answer["reason"] == "busy" and tree in answer["message"], answer
            assert "b one" in answer["message"] or "a other" in answer["message"], answer
    thaw.clean()
    for answer in answers:
        if answer.code == 0 and what == "folder" and answer.get("vanished", 0) == 0:
            thaw.restore(f"k@{answer['generation']}", f"{work}/out")
            for each in ("b one", "a other"):
                path = f"{work}/out/{each}"
                if os.path.isdir(path) and not os.path.islink(path):
                    assert os.listdir(path), answer


# ------------------------------------------------------------------------------------- Ctrl-C

@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Takes thaw a second or more: many files, and bytes that do not compress."""
    root = str(tmp_path_factory.mktemp("large")) if not os.path.isdir("/dev/shm") else "/dev/shm/thaw-e2e.large%d" % os.getpid()
    rng = random.Random(3)
    block = rng.randbytes(1 << 20)
    for i in range(6000):
        if i % 100 == 0:
            os.makedirs(f"{root}/d{i // 100}", exist_ok=True)
        with open(f"{root}/d{i // 100}/f{i}", "wb") as file:
            file.write(b"%d" % i + block[i * 37 % 900_000:][:9000])
    for i in range(6):
        write(f"{root}/blob{i}", words(rng, 1 << 20) + rng.randbytes(12 << 20))
    yield root
    shutil.rmtree(root)


def stopped(process, number, begun):
    """Sends a signal once `begun`; answers how it ended and how long that took."""
    wait_for(lambda: begun() or process.poll() is not None)
    at = time.monotonic()
    process.send_signal(number)
    answer = finish(process)
    return answer, time.monotonic() - at


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_a_save(thaw, work, large, number):
    process = thaw.start("save", "k", large, "--threads", "1")
    answer, seconds = stopped(process, number, lambda: len(os.listdir(f"{thaw.store}/packs")) > 0
                              if os.path.isdir(f"{thaw.store}/packs") else False)
    assert answer.code == 1 and answer["reason"] == "cancelled", answer
    assert seconds < 2, seconds  # one second, and what a busy machine takes
    assert thaw.ok("ls")["keys"] == []
    assert thaw.objects("leases") == []
    assert not os.path.isdir(f"{thaw.store}/.tmp") or os.listdir(f"{thaw.store}/.tmp") == []


@pytest.fixture(scope="module")
def saved_large(large, tmp_path_factory):
    from driver import Thaw

    work = large + ".store"
    os.mkdir(work)
    Thaw(work).save("k", large, "--no-stat-cache")
    yield f"{work}/data/thaw/store"
    shutil.rmtree(work)


@pytest.mark.parametrize("mode", ["replace", "sync", "merge"])
def test_stopping_a_restore(thaw, work, saved_large, mode):
    target = f"{work}/place/target"
    write(f"{target}/old/file", b"old")
    place = os.path.dirname(target) if mode == "replace" else target
    before = describe(target)
    process = thaw.start("restore", "k", target, "--mode", mode, "--threads", "1", "--store", saved_large)

    def writing():
        for name in stages_in(place):
            inner = f"{place}/{name}/tree" if mode == "replace" else f"{place}/{name}"
            try:
                return len(os.listdir(inner)) > 5
            except OSError:
                pass
        return False

    answer, seconds = stopped(process, signal.SIGINT, writing)
    assert answer.code == 1 and answer["reason"] == "cancelled", answer
    assert seconds < 2, seconds
    found = {name: node for name, node in describe(target).items() if not name.startswith(b".thaw-stage-")}
    if mode != "replace" and stages_in(target):
        found[b""]["mtime"] = before[b""]["mtime"]
    assert_same(before, found)
    # What could not be removed in time goes with the next run.
    thaw.restore("k", target, "--mode", mode, "--store", saved_large)
    assert stages_in(place) == []


@pytest.mark.parametrize("mode", ["replace", "sync"])
def test_stopping_while_a_large_folder_is_removed(thaw, work, interposer, mode):
    """Thousands of names in one folder, on a disk that takes its time for each."""
    tree = small_tree(f"{work}/tree", files=5)
    thaw.save("k", tree)
    target = f"{work}/place/target"
    count = 8000
    os.makedirs(f"{target}/many")
    for i in range(count):
        os.close(os.open(f"{target}/many/f{i}", os.O_CREAT | os.O_WRONLY))
    process = thaw.start("restore", "k", target, "--mode", mode,
                         env={"LD_PRELOAD": interposer, "INTERPOSE_SLOW_UNLINK_US": "500"})

    def removing():
        folders = [f"{target}/many"] + [f"{work}/place/{stage}/tree/many" for stage in stages_in(f"{work}/place")]
        for folder in folders:
            with contextlib.suppress(OSError):
                if len(os.listdir(folder)) < count:
                    return True
        return False

    answer, seconds = stopped(process, signal.SIGINT, removing)
    assert seconds < 2, seconds
    # With replace the new tree was in place before.
    assert answer.code == (0 if mode == "replace" else 1), answer
    if mode == "sync":
        assert answer["reason"] == "cancelled", answer
    thaw.restore("k", target, "--mode", mode)
    assert_same(tree, target)
    assert os.listdir(f"{work}/place") == ["target"]


def test_stopping_while_many_small_files_are_written(thaw, work):
    """A hundred thousand names in one folder, whose bytes lie in one chunk."""
    os.makedirs(f"{work}/tree/many")
    for i in range(100_000):
        with open(f"{work}/tree/many/f{i}", "wb") as file:
            file.write(b"%d" % (i % 7))
    thaw.save("k", f"{work}/tree", "--no-stat-cache")
    target = f"{work}/place/target"
    os.makedirs(os.path.dirname(target))
    process = thaw.start("restore", "k", target, "--threads", "1")

    def writing():
        for stage in stages_in(f"{work}/place"):
            with contextlib.suppress(OSError):
                return len(os.listdir(f"{work}/place/{stage}/tree/many")) > 100
        return False

    answer, seconds = stopped(process, signal.SIGINT, writing)
    assert answer.code == 1 and answer["reason"] == "cancelled", answer
    assert seconds < 2, seconds
    assert not os.path.exists(target)


def test_a_second_ctrl_c_ends_it_at_once(thaw, work, large):
    process = thaw.start("save", "k", large, "--threads", "1")
    wait_for(lambda: os.path.isdir(f"{thaw.store}/packs") and os.listdir(f"{thaw.store}/packs"))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode in (1, 130)
    assert out.count(b"\n") == 1 and b'"cancelled"' in out
    assert thaw.ok("ls")["keys"] == []
