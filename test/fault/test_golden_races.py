"""Racing promoters, with cloners beside them. THAW_GOLDEN_RACE=PROMOTERS,GENERATIONS,CLONERS sets the size:
100,50,8 is what the issue asks for."""

import hashlib
import os
import shutil
import threading

from goldens import root_of, settled
from trees import write

PROMOTERS, GENERATIONS, CLONERS = (int(each) for each in os.environ.get("THAW_GOLDEN_RACE", "8,6,3").split(","))
FILES = 30


def content(mark, index):
    return hashlib.sha256(f"{mark} {index}".encode()).digest() * (1 + index % 7)


def make(root, mark):
    for index in range(FILES):
        write(f"{root}/d{index % 4}/f{index}", content(mark, index))
    write(f"{root}/mark", mark.encode())
    return root


def mark_of(root):
    """The promoter whose tree it is; asserts that each byte is that promoter's."""
    with open(f"{root}/mark", encoding="utf-8") as file:
        mark = file.read()
    names = sorted(os.path.join(os.path.relpath(folder, root), each) for folder, _, files in os.walk(root)
                   for each in files)
    assert len(names) == FILES + 1, names
    for index in range(FILES):
        with open(f"{root}/d{index % 4}/f{index}", "rb") as file:
            assert file.read() == content(mark, index), (mark, index)
    return mark


class Cloners:
    """Clone, check and remove for as long as the race runs."""

    def __init__(self, thaw, work):
        self.thaw, self.work = thaw, work
        self.done = threading.Event()
        self.seen, self.errors = [], []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLONERS)]

    def _run(self, number):
        target = f"{self.work}/clone{number}"
        try:
            while not self.done.is_set():
                answer = self.thaw.run("golden", "clone", "g", target)
                if answer.code == 3:
                    continue  # before the first generation
                assert answer.code == 0, answer
                self.seen.append((answer["generation"], mark_of(target)))
                self.thaw.ok("golden", "unclone", target)
        except BaseException as fault:  # pylint: disable=broad-except
            self.errors.append(fault)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()


def test_of_racing_promoters_one_wins_each_generation(thaw, work):
    winners = {}
    with Cloners(thaw, work) as cloners:
        for generation in range(1, GENERATIONS + 1):
            trees = [make(f"{work}/p{number}", f"{generation}.{number}") for number in range(PROMOTERS)]
            racing = [thaw.start("golden", "promote", "g", each, "--if-generation", str(generation - 1))
                      for each in trees]
            codes = []
            for process, each in zip(racing, trees):
                out, err = process.communicate(timeout=300)
                codes.append(process.returncode)
                assert process.returncode in (0, 4), (out, err)
                if process.returncode == 4:
                    assert b'"reason":"exists"' in out, out
                # The winner's directory was moved, and the others' are whole.
                assert os.path.isdir(each) is (process.returncode == 4)
            assert codes.count(0) == 1, (generation, codes)
            winners[generation] = f"{generation}.{codes.index(0)}"
            for each in trees:
                if os.path.isdir(each):
                    mark_of(each)
                    shutil.rmtree(each)
    assert not cloners.errors, cloners.errors[0]
    assert cloners.seen
    for generation, mark in cloners.seen:
        assert winners[generation] == mark
    shown = thaw.ok("golden", "show", "g")["generations"]
    assert [each["generation"] for each in shown] == list(range(GENERATIONS, 0, -1))
    for each in shown:
        assert mark_of(each["tree"]) == winners[each["generation"]]
    settled(thaw)
    assert os.listdir(f"{root_of(thaw)}/g/clones") == []


def test_removal_beside_clones(thaw, work):
    """What is being cloned stays; what was removed is a miss; no clone is half of one."""
    with Cloners(thaw, work) as cloners:
        for number in range(1, 2 * GENERATIONS + 1):
            thaw.ok("golden", "promote", "g", make(f"{work}/p", f"{number}"))
            answer = thaw.ok("golden", "gc", "--keep-last", "0", "--yes")
            assert all(each["generation"] < number for each in answer["generations"])
    assert not cloners.errors, cloners.errors[0]
    for generation, mark in cloners.seen:
        assert str(generation) == mark
    thaw.ok("golden", "gc", "--keep-last", "0", "--yes")
    assert len(thaw.ok("golden", "show", "g")["generations"]) == 1
    settled(thaw)


def test_clones_race_for_one_target(thaw, work):
    """One gets it, the others are told so, or find it whole."""
    thaw.ok("golden", "promote", "g", make(f"{work}/p", "one"))
    for round_ in range(2 * GENERATIONS):
        more = ["--overlay"] if round_ % 2 and os.geteuid() == 0 else []
        target = f"{work}/clone"
        if round_ % 4 > 1:
            os.mkdir(target)
        racing = [thaw.start("golden", "clone", "g", target, *more) for _ in range(6)]
        answers = [(process.communicate(timeout=100), process.returncode) for process in racing]
        made = [out for (out, _), code in answers if code == 0 and b'"reason":"unchanged"' not in out]
        assert len(made) == 1, answers
        assert all(code in (0, 4) for _, code in answers), answers
        assert mark_of(target) == "one"
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            assert sum(f" {target} " in line for line in table) <= 1
        thaw.ok("golden", "unclone", target)
        assert not os.path.lexists(target) or os.listdir(target) == []
        shutil.rmtree(target, ignore_errors=True)
        settled(thaw)
        assert os.listdir(f"{root_of(thaw)}/g/clones") == os.listdir(f"{root_of(thaw)}/g/overlays") == []
