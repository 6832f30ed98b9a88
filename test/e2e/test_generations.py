"""Many generations of a changing tree: each restores exactly, and neither bytes nor fragments pile up."""

import os
import random
import shutil

import pytest

from driver import Thaw
from trees import assert_same, copy, words, write


def seeded(number=None):
    seed = int.from_bytes(os.urandom(4), "big") if number is None else number
    print("seed", seed)
    return random.Random(seed)


def paths_in(root):
    files, folders = [], [root]
    for folder, dirs, names in os.walk(root):
        folders += [os.path.join(folder, name) for name in dirs if not os.path.islink(os.path.join(folder, name))]
        files += [os.path.join(folder, name) for name in names]
    return files, folders


def mutate(rng, root):
    """One step of somebody's day."""
    files, folders = paths_in(root)
    plain = [path for path in files if os.path.isfile(path) and not os.path.islink(path)]
    kind = rng.randrange(13)
    fresh = f"{rng.choice(folders)}/n{rng.getrandbits(40):x}"
    if kind <= 2:
        write(fresh, rng.choice([words, lambda r, n: r.randbytes(n)])(rng, rng.choice([0, 1, 100, 5000, 70_000])))
    elif kind == 3:
        write(fresh, rng.randbytes(rng.randrange(1 << 20, 3 << 20)))
    elif kind == 4:
        os.mkdir(fresh)
    elif kind == 5:
        os.symlink(rng.choice(["a", "../b", "/nowhere", "x" * 300]), fresh)
    elif kind == 6 and files:
        os.unlink(rng.choice(files))
    elif kind == 7 and len(folders) > 4:
        shutil.rmtree(rng.choice(folders[1:]))
    elif kind == 8 and plain:
        with open(rng.choice(plain), "r+b") as file:  # an edit in the middle, in place
            size = os.fstat(file.fileno()).st_size
            file.seek(rng.randrange(size + 1))
            file.write(words(rng, rng.randrange(1, 2000)))
    elif kind == 9 and plain:
        path = rng.choice(plain)  # an insertion, which moves what follows
        content = open(path, "rb").read()
        at = rng.randrange(len(content) + 1)
        write(path, content[:at] + b"inserted" + content[at:])
    elif kind == 10 and plain:
        os.link(rng.choice(plain), fresh)
    elif kind == 11 and files:
        path = rng.choice(files)
        if os.path.exists(path) and not os.path.islink(path):
            os.chmod(path, rng.choice([0o600, 0o644, 0o755]))
            os.setxattr(path, "user.step", b"%d" % rng.randrange(100))
        os.utime(path, ns=(0, rng.randrange(2 * 10**18)), follow_symlinks=False)
    elif kind == 12 and files:
        path = rng.choice(files)
        os.rename(path, fresh)


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False], ids=["stat cache", "no stat cache"])
def test_every_generation_is_what_it_was(thaw, work, cache):
    rng = seeded()
    flags = [] if cache else ["--no-stat-cache"]
    tree = f"{work}/tree"
    for _ in range(60):
        mutate(rng, tree) if os.path.isdir(tree) else write(f"{tree}/first", b"first")
    kept, target = {}, f"{work}/target"
    for number in range(15):
        for _ in range(rng.randrange(1, 25)):
            mutate(rng, tree)
        write(f"{tree}/number", b"%d" % number)
        answer = thaw.save("k", tree, "--allow-shrink", *flags)
        generation = answer["generation"]
        assert generation == number + 1
        kept[generation] = copy(tree, f"{work}/kept{generation}")
        # One folder that goes from version to version, in either way.
        thaw.restore("k", target, "--mode", rng.choice(["replace", "sync"]), *flags)
        assert_same(tree, target)
        if rng.randrange(3) == 0 and len(kept) > 2:
            gone = rng.choice(sorted(kept)[:-1])
            assert thaw.ok("rm", f"k@{gone}", "--yes")["generations"] == [gone]
            shutil.rmtree(kept.pop(gone))
    assert thaw.ok("inspect", "k")["generations"] == sorted(kept, reverse=True)
    thaw.clean()
    for generation, copied in kept.items():
        thaw.restore(f"k@{generation}", target, *flags)
        assert_same(copied, target)
        # The id is the tree's, not its history's.
        found = thaw.ok("inspect", f"k@{generation}")
        fresh = thaw.save("fresh", copied, "--store", f"{work}/fresh store", "--allow-shrink")
        assert fresh["snapshot"] == found["snapshot"]


def edit_some(rng, root, share):
    files, _ = paths_in(root)
    for path in rng.sample(files, max(1, int(len(files) * share))):
        content = words(rng, rng.randrange(200, 12_000))
        with open(path + ".new", "wb") as file:
            file.write(content)
        os.replace(path + ".new", path)


@pytest.mark.slow
def test_fragments_stay_within_their_budget(thaw, work):
    """1% random edits a generation: fetches stay under twice those of the same tree saved fresh."""
    rng = seeded()
    tree = f"{work}/tree"
    for i in range(2500):
        write(f"{tree}/d{i % 50}/f{i}", words(rng, rng.randrange(200, 12_000)))
    first = thaw.save("k", tree)
    new = []
    for _ in range(30):
        edit_some(rng, tree, 0.01)
        answer = thaw.save("k", tree)
        new.append(answer["new_bytes"])
    last = thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
    fresh = Thaw(f"{work}/fresh")
    saved = fresh.save("k", tree)
    compared = fresh.restore("k", f"{work}/out2")
    print("fetched", last["fetched_bytes"], "fresh", saved["stored_bytes"], "requests", last["fetches"], compared["fetches"])
    assert compared["fetched_bytes"] <= saved["stored_bytes"] * 1.01
    assert last["fetched_bytes"] <= 2 * saved["stored_bytes"]
    assert last["fetches"] <= 16 + 4 * (last["stored_bytes"] // (8 << 20) + 1)
    # Thirty times 1% of new content, and what was laid down anew: no more than a few trees' worth.
    edits = 0.3 * first["stored_bytes"]
    print("new", sum(new), "edits", edits, "first", first["stored_bytes"])
    assert sum(new) <= 3 * first["stored_bytes"]


def test_a_small_change_stores_little(thaw, work):
    rng = seeded(4)
    tree = f"{work}/tree"
    for i in range(1000):
        write(f"{tree}/d{i % 20}/f{i}", words(rng, 4000))
    write(f"{tree}/large", rng.randbytes(24 << 20))
    first = thaw.save("k", tree)
    with open(f"{tree}/d3/f3", "ab") as file:
        file.write(b"one more line\n")
    assert thaw.save("k", tree)["new_bytes"] < 20_000
    with open(f"{tree}/large", "r+b") as file:
        file.seek(10 << 20)
        file.write(b"changed in the middle")
    assert thaw.save("k", tree)["new_bytes"] < 6 << 20
    content = open(f"{tree}/large", "rb").read()
    write(f"{tree}/large", content[:5 << 20] + b"inserted" + content[5 << 20:])
    assert thaw.save("k", tree)["new_bytes"] < 10 << 20
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
    # A file that came back, moved or was copied costs nothing.
    os.rename(f"{tree}/large", f"{tree}/d7/moved")
    os.mkdir(f"{tree}/copies")
    for i in range(20):
        shutil.copy(f"{tree}/d1/f1", f"{tree}/copies/{i}")
    assert thaw.save("k", tree)["new_bytes"] == 0
    assert first["new_bytes"] > 24 << 20


def test_images(thaw, work):
    """A disk image: zeros are left out, a changed page costs little, and holes come back as holes."""
    rng = seeded(5)
    tree = f"{work}/tree"
    os.makedirs(tree)
    with open(f"{tree}/rootfs.ext4", "wb") as file:
        file.truncate(64 << 20)
        for at in range(0, 64 << 20, 8 << 20):
            file.seek(at)
            file.write(rng.randbytes(1 << 20))
            file.write(bytes(1 << 20))  # zeros that are allocated
    first = thaw.save("vm", tree, "--image", "*.ext4")
    assert first["stored_bytes"] < 9 << 20
    with open(f"{tree}/rootfs.ext4", "r+b") as file:
        file.seek(40 << 20)
        file.write(rng.randbytes(4096))
    assert thaw.save("vm", tree, "--image", "*.ext4")["new_bytes"] < 5 << 20
    thaw.restore("vm", f"{work}/out")
    assert_same(tree, f"{work}/out")
    assert os.stat(f"{work}/out/rootfs.ext4").st_blocks * 512 <= 18 << 20
