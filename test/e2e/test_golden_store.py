"""thaw golden publish, warm, and clones from the store: goldens that several machines share."""

import json
import os
import select
import subprocess

import pytest

from driver import binary
from goldens import root_of, settled
from trees import assert_same, describe, rsync_differences, small_tree, write


@pytest.fixture
def other(work):
    """The environment of another machine: a golden root of its own, and the same store."""
    return {"THAW_GOLDEN_ROOT": f"{work}/other machine"}


def description(root, name="g", generation=1):
    with open(f"{root}/{name}/{generation}/golden.json", encoding="utf-8") as file:
        return json.load(file)


def test_what_is_published_is_cloned_elsewhere(thaw, work, other):
    tree = small_tree(f"{work}/tree")
    before = describe(tree)
    answer = thaw.ok("golden", "promote", "g", tree, "--publish", "golden/g", "--source", "session 1",
                     "--label", "branch=main")
    assert answer["published"]["key"] == "golden/g" and answer["published"]["generation"] == 1
    assert answer["snapshot"] == answer["published"]["snapshot"]
    assert description(root_of(thaw))["snapshot"] == answer["snapshot"]
    clone = thaw.ok("golden", "clone", "g", f"{work}/clone", env=other)
    assert clone["fetched"] is True and clone["generation"] == 1 and clone["snapshot"] == answer["snapshot"]
    assert_same(before, f"{work}/clone")
    there = description(other["THAW_GOLDEN_ROOT"])
    assert there["source"] == "session 1" and there["labels"] == {"branch": "main"}
    again = thaw.ok("golden", "clone", "g", f"{work}/again", env=other)
    assert again["fetched"] is False
    assert rsync_differences(f"{work}/clone", f"{work}/again") == ""
    # Here, nothing is fetched at all, though the store has it.
    assert thaw.ok("golden", "clone", "g", f"{work}/mine")["fetched"] is False


def test_it_is_fetched_once_however_many_ask(thaw, work, other):
    tree = small_tree(f"{work}/tree", files=400)
    before = describe(tree)
    thaw.ok("golden", "promote", "g", tree, "--publish", "golden/g")
    asking = [thaw.start("golden", "clone", "g", f"{work}/clone{number}", env=other) for number in range(8)]
    answers = [json.loads(each.communicate(timeout=120)[0]) for each in asking]
    assert all(each["ok"] for each in answers), answers
    assert [each["fetched"] for each in answers].count(True) == 1
    assert {each["generation"] for each in answers} == {1}
    for number in range(8):
        assert_same(before, f"{work}/clone{number}")
    assert os.listdir(f"{other['THAW_GOLDEN_ROOT']}/g/clones")
    assert sorted(each for each in os.listdir(f"{other['THAW_GOLDEN_ROOT']}/g") if each.isdigit()) == ["1"]


def test_a_golden_that_nobody_knows_leaves_nothing(thaw, work):
    answer = thaw.fails(3, "golden", "clone", "g", f"{work}/made/clone")
    assert "golden/g" in answer["message"] and answer["reason"] == "miss"
    thaw.fails(3, "golden", "warm", "g")
    thaw.fails(3, "golden", "publish", "g")
    assert not os.path.exists(f"{work}/made") and os.listdir(root_of(thaw)) == []


def test_warm(thaw, work, other):
    for name in ("a", "b"):
        thaw.ok("golden", "promote", name, small_tree(f"{work}/tree", seed=ord(name)), "--publish", f"golden/{name}")
    answer = thaw.fails(3, "golden", "warm", "a", "missing", "b", env=other)
    assert [each["ok"] for each in answer["goldens"]] == [True, False, True]
    assert [each.get("fetched") for each in answer["goldens"]] == [True, None, True]
    assert answer["goldens"][1]["reason"] == "miss"
    assert sorted(os.listdir(other["THAW_GOLDEN_ROOT"])) == ["a", "b"]
    answer = thaw.ok("golden", "warm", "a", "b", env=other)
    assert [each["fetched"] for each in answer["goldens"]] == [False, False]
    # A key of its own.
    thaw.ok("golden", "warm", "c", "--key", "golden/a", env=other)
    assert rsync_differences(f"{other['THAW_GOLDEN_ROOT']}/a/1/tree", f"{other['THAW_GOLDEN_ROOT']}/c/1/tree") == ""
    thaw.fails(2, "golden", "warm", "a", "b", "--key", "golden/a", env=other)
    thaw.fails(2, "golden", "warm", "a@1", env=other)


def test_newest(thaw, work, other):
    thaw.ok("golden", "promote", "g", small_tree(f"{work}/tree", seed=1), "--publish", "golden/g")
    thaw.ok("golden", "warm", "g", env=other)
    tree = small_tree(f"{work}/tree", seed=2)
    second = describe(tree)
    thaw.ok("golden", "promote", "g", tree)
    published = thaw.ok("golden", "publish", "g")
    assert published["published"]["generation"] == 2
    assert thaw.ok("golden", "publish", "g")["reason"] == "unchanged"
    # Whatever this machine has is good, unless it is asked for more.
    assert thaw.ok("golden", "warm", "g", env=other)["goldens"][0]["fetched"] is False
    answer = thaw.ok("golden", "warm", "g", "--newest", env=other)["goldens"][0]
    assert answer["fetched"] is True and answer["generation"] == 2
    assert_same(second, f"{other['THAW_GOLDEN_ROOT']}/g/2/tree")
    assert thaw.ok("golden", "warm", "g", "--newest", env=other)["goldens"][0]["fetched"] is False
    # Who rolled back wanted to.
    thaw.ok("golden", "rollback", "g", env=other)
    answer = thaw.ok("golden", "warm", "g", "--newest", env=other)["goldens"][0]
    assert answer["fetched"] is False and answer["generation"] == 1
    settled(thaw)


def test_a_number_is_this_machines_own(thaw, work, other):
    thaw.ok("golden", "promote", "g", small_tree(f"{work}/tree"), "--publish", "golden/g")
    thaw.fails(3, "golden", "clone", "g@1", f"{work}/clone", env=other)
    assert not os.path.exists(f"{work}/clone")


def test_a_failed_publication_leaves_the_promotion(thaw, work):
    # Nobody listens there.
    answer = thaw.fails(1, "golden", "promote", "g", small_tree(f"{work}/tree"), "--publish", "golden/g",
                        "--store", "s3://bucket?endpoint=http://127.0.0.1:9&region=us-east-1", "--timeout", "20s",
                        env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert answer["message"].startswith("promoted g@1, and did not publish it") and answer["generation"] == 1
    assert "golden publish g --key golden/g" in answer["hint"]
    assert description(root_of(thaw))["snapshot"] is None
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    answer = thaw.ok("golden", "publish", "g", "--key", "golden/g")
    assert description(root_of(thaw))["snapshot"] == answer["published"]["snapshot"]
    settled(thaw)


def test_advisory_without_a_store(thaw, work):
    answer = thaw.ok("--advisory", "golden", "promote", "g", small_tree(f"{work}/tree"))
    assert answer["generation"] == 1
    assert thaw.ok("--advisory", "golden", "clone", "g", f"{work}/clone")["method"]
    answer = thaw.ok("--advisory", "golden", "clone", "other", f"{work}/none")
    assert answer["reason"] == "miss" and not os.path.exists(f"{work}/none")
    for words in (("publish", "g"), ("warm", "g"), ("promote", "g", f"{work}/clone", "--publish", "golden/g")):
        assert thaw.ok("--advisory", "golden", *words)["reason"] == "disabled"
    assert os.path.exists(f"{work}/clone") and not os.path.exists(thaw.store)


def test_a_corrupt_store_promotes_nothing(thaw, work, other):
    thaw.ok("golden", "promote", "g", small_tree(f"{work}/tree"), "--publish", "golden/g")
    for name in thaw.objects("packs"):
        with open(f"{thaw.store}/{name}", "r+b") as file:
            file.seek(os.fstat(file.fileno()).st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
    answer = thaw.fails(1, "golden", "clone", "g", f"{work}/clone", env=other)
    assert answer["reason"] == "corrupt"
    assert not os.path.exists(f"{work}/clone")
    left = os.listdir(f"{other['THAW_GOLDEN_ROOT']}/g")
    assert not [each for each in left if each.startswith(".") or each.isdigit()], left
    assert thaw.ok("golden", "ls", env=other)["goldens"] == []


def shell(text):
    return "--", "sh", "-c", text


def test_build(thaw, work):
    answer = thaw.ok("golden", "build", "g", "--source", "ci 7", *shell("echo said; pwd; echo made > file; mkdir sub"))
    assert answer["built"] is True and answer["transfer"] == "made" and answer["generation"] == 1
    assert answer["exit_code"] == 0 and answer["files"] == 1 and answer["source"] == "ci 7"
    # What the command says goes to standard error: the answer is JSON, whole.
    assert b"said\n" in answer.err
    thaw.ok("golden", "clone", "g", f"{work}/clone")
    assert sorted(os.listdir(f"{work}/clone")) == ["file", "sub"]
    settled(thaw)


def test_a_build_that_fails_leaves_nothing(thaw, work):
    answer = thaw.fails(1, "golden", "build", "g", *shell("echo x > file; exit 7"))
    assert answer["reason"] == "command" and answer["exit_code"] == 7 and answer["built"] is False
    assert thaw.fails(1, "golden", "build", "g", *shell("kill -KILL $$"))["exit_code"] == 137
    assert thaw.fails(4, "golden", "build", "g", *shell("true"))["reason"] == "empty"
    thaw.fails(1, "golden", "build", "g", "--", f"{work}/no such program")
    assert thaw.ok("golden", "ls")["goldens"] == []
    thaw.fails(2, "golden", "build", "g")
    settled(thaw)


def test_if_missing(thaw):
    assert thaw.ok("golden", "build", "g", "--if-missing", *shell("echo 1 > file"))["built"] is True
    answer = thaw.ok("golden", "build", "g", "--if-missing", *shell("exit 1"))
    assert answer["built"] is False and answer["reason"] == "exists" and answer["generation"] == 1
    assert thaw.ok("golden", "build", "g", *shell("echo 2 > file"))["generation"] == 2


@pytest.fixture
def building(thaw, work):
    """A build that goes on until it reads from a FIFO. Yields the process and the FIFO's path."""
    started, go_on = f"{work}/started", f"{work}/go on"
    os.mkfifo(started)
    os.mkfifo(go_on)
    process = thaw.start("golden", "build", "g", *shell(f"echo $$ > '{started}'; read code < '{go_on}'; "
                                                        "echo first > file; exit $code"))
    with open(started, encoding="ascii") as file:
        process.command = int(file.read())
    yield process, go_on
    process.kill()
    process.communicate()


def waits(process):
    """Returns when it waits for a lock, as it says."""
    while line := process.stderr.readline():
        if b"waiting for" in line:
            return
    raise AssertionError("it does not wait")


@pytest.mark.parametrize("code", [0, 1], ids=["it succeeds", "it fails"])
def test_it_is_built_once(thaw, building, code):
    first, go_on = building
    answer = thaw.fails(4, "golden", "build", "g", "--no-wait", *shell("echo second > file"))
    assert answer["reason"] == "busy" and f"pid {first.pid}" in answer["message"]
    with thaw.start("-v", "golden", "build", "g", *shell("echo second > file")) as second:
        waits(second)
        with open(go_on, "w", encoding="ascii") as file:
            file.write(f"{code}\n")
        ended = json.loads(second.stdout.read())
    answered = json.loads(first.communicate(timeout=60)[0])
    assert answered["built"] is (code == 0)
    # Who waited takes what was built, or builds where nothing was.
    assert ended["ok"] and ended["built"] is (code != 0) and ended["generation"] == 1
    with open(f"{root_of(thaw)}/g/1/tree/file", encoding="ascii") as file:
        assert file.read() == ("first\n" if code == 0 else "second\n")
    settled(thaw)


def gone(pid):
    """Waits for a process that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 60)[0], "it goes on"
    finally:
        os.close(fd)


@pytest.mark.parametrize("signal", ["INT", "KILL"])
def test_a_build_that_is_stopped(thaw, building, signal):
    first, _ = building
    subprocess.run(["kill", f"-{signal}", str(first.pid)], check=True)
    first.wait(timeout=60)
    gone(first.command)
    answer = thaw.ok("golden", "build", "g", "--no-wait", *shell("echo third > file"))
    assert answer["built"] is True and answer["generation"] == 1
    settled(thaw)


@pytest.mark.parametrize("words", ["build g -- true", "warm g", "clone g clone", "publish g"])
def test_a_build_that_asks_for_itself(thaw, work, other, words):
    """It would wait for itself."""
    thaw.ok("golden", "promote", "g", small_tree(f"{work}/tree"), "--publish", "golden/g")
    env = other
    if words == "publish g":
        env = {}
    script = f"'{binary()}' --json golden {words} > '{work}/said'; echo $? > code"
    thaw.ok("golden", "build", "g", "--allow-shrink", *shell(script), env=env)
    with open(f"{work}/said", encoding="utf-8") as file:
        said = json.load(file)
    assert said["reason"] == "busy" and "wait for itself" in said["message"]
    # Another golden can be built from inside.
    script = f"'{binary()}' golden build other -- sh -c 'echo x > f' && echo y > f"
    thaw.ok("golden", "build", "g", "--allow-shrink", *shell(script))


def test_what_a_build_leaves_running_is_ended(thaw, work):
    """Nobody writes into a generation any more."""
    thaw.ok("golden", "build", "g", *shell(f"echo a > f; (echo $$; exec sleep 1000) > '{work}/pid' & "
                                           "setsid sh -c 'sleep 1000; echo b > f' & exit 0"))
    left = subprocess.run(["pgrep", "-f", "^sleep 1000$"], stdout=subprocess.PIPE, check=False).stdout.split()
    inside = [pid for pid in left if work in os.readlink(f"/proc/{int(pid)}/cwd")]
    assert inside == []


def test_a_time_limit_ends_a_build_that_ignores_it(thaw, work):
    process = thaw.start("golden", "build", "g", "--timeout", "300ms", "--",
                         "sh", "-c", "trap '' TERM; echo 1 > f; sleep 1000; sleep 1000")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and json.loads(out)["reason"] == "timeout"
    left = subprocess.run(["pgrep", "-f", "^sleep 1000$"], stdout=subprocess.PIPE, check=False).stdout.split()
    assert [pid for pid in left if work in os.readlink(f"/proc/{int(pid)}/cwd")] == []
    settled(thaw)


def test_a_build_that_puts_a_link_in_its_place(thaw, work):
    small_tree(f"{work}/precious", files=3)
    before = describe(f"{work}/precious")
    script = f"P=$PWD; cd /; rmdir $P; ln -s '{work}/precious' $P"
    answer = thaw.fails(1, "golden", "build", "g", "--scrub", "*", "--stamp", "stamp", *shell(script))
    assert answer["reason"] == "corrupt"
    assert_same(before, f"{work}/precious")
    # A folder that was made anew is as good as the first.
    assert thaw.ok("golden", "build", "g", *shell("P=$PWD; cd /; rmdir $P; mkdir $P; echo x > $P/f"))["files"] == 1
    settled(thaw)
