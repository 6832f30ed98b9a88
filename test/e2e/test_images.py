"""Images in layers: children keep changed pages, and every generation can be read by itself."""

import os
import random
import shutil

import pytest

import store_format as fmt
from trees import assert_same, write

MIB = 1 << 20
PAGE = 4096
WINDOW = 2 * MIB
PIECES = 8

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")


def seeded(seed=None):
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print("seed", seed)
    return random.Random(seed)


def make_image(path, size, rng, empty=range(0)):
    """Random MiB by MiB, but holes where the number is in `empty`."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)
        for number in range(-(-size // MIB)):
            if number not in empty:
                file.seek(number * MIB)
                file.write(rng.randbytes(min(MIB, size - number * MIB)))


def change_pages(path, numbers, rng):
    with open(path, "r+b") as file:
        for number in numbers:
            file.seek(number * PAGE)
            file.write(rng.randbytes(PAGE))
    return len(numbers) * PAGE


def window_pieces(thaw, key, generation, name):
    """For each aligned window of the file, the chunks that it refers to."""
    _, manifest, _ = fmt.read_snapshot(thaw.store, key, generation)
    content = manifest.content_of(name)
    first = sum(manifest["content_extents"][:content])
    windows = {}
    for i in range(first, first + manifest["content_extents"][content]):
        begin, length = manifest["extent_file_offsets"][i], manifest["extent_lengths"][i]
        for window in range(begin // WINDOW, (begin + length - 1) // WINDOW + 1):
            windows.setdefault(window, set()).add(manifest["extent_chunks"][i])
    return windows


def check_restores(thaw, work, ref, tree):
    shutil.rmtree(f"{work}/out", ignore_errors=True)
    thaw.restore(ref, f"{work}/out", "--no-stat-cache")
    assert_same(tree, f"{work}/out")


@needs_zstd
def test_a_chain_of_children(thaw, work):
    """Each changes 1% of the pages at random: what it stores, what its windows refer to, and every generation read back."""
    rng = seeded()
    tree, size, generations = f"{work}/tree", 64 * MIB, 20
    image = f"{tree}/rootfs.ext4"
    make_image(image, size, rng, empty=range(40, 52))
    thaw.save("vm", tree)
    kept = [f"{work}/kept-1"]
    shutil.copytree(tree, kept[0])
    changed, stored = [], []
    for generation in range(2, generations + 2):
        changed.append(change_pages(image, rng.sample(range(size // PAGE), size // PAGE // 100), rng))
        stored.append(thaw.save("vm", tree)["new_bytes"])
        pieces = window_pieces(thaw, "vm", generation, b"rootfs.ext4")
        assert max(len(chunks) for chunks in pieces.values()) <= PIECES
        kept.append(f"{work}/kept-{generation}")
        shutil.copytree(tree, kept[-1])
    print("stored to changed:", [round(a / b, 2) for a, b in zip(stored, changed)])
    assert stored[0] <= 1.3 * changed[0]
    assert sum(stored) <= 2 * sum(changed)
    assert len(max(pieces.values(), key=len)) > 4, "the chain is too short to try the budget"
    thaw.clean()
    for generation, copy in enumerate(kept, 1):
        check_restores(thaw, work, f"vm@{generation}", copy)
        shutil.rmtree(copy)
    # What a child shares with its ancestors is its own: the last one stands alone.
    for generation in range(1, generations + 1):
        thaw.ok("rm", f"vm@{generation}", "--yes")
    check_restores(thaw, work, "vm", tree)
    thaw.clean()


@pytest.mark.asan
@pytest.mark.parametrize("unit", [1, PAGE, MIB])
def test_an_image_grows_and_shrinks(thaw, work, unit):
    rng = seeded()
    tree, size = f"{work}/tree", 20 * MIB + 3 * 1000
    image = f"{tree}/disk.img"
    make_image(image, size, rng)
    thaw.save("vm", tree)
    for change in (5 * unit, -3 * unit, 7 * unit + 1):
        old, size = size, size + change
        os.truncate(image, size)
        if size > old:
            with open(image, "r+b") as file:
                file.seek(old)
                file.write(rng.randbytes(size - old))
        answer = thaw.save("vm", tree)
        # No more than the last window, in which the end moved, and what was added.
        assert answer["new_bytes"] < max(change, 0) + PAGE * 2 + 64 * 1024, change
        check_restores(thaw, work, "vm", tree)
    thaw.clean()


def test_zeros_and_holes_in_children(thaw, work):
    """Pages that become zeros cost nothing, whether written or punched, and holes stay holes."""
    rng = seeded()
    tree, size = f"{work}/tree", 24 * MIB
    image = f"{tree}/disk.img"
    make_image(image, size, rng)
    thaw.save("vm", tree)
    with open(image, "r+b") as file:
        for page in rng.sample(range(size // PAGE // 2), 40):
            file.seek(page * PAGE)
            file.write(bytes(PAGE))
        file.seek(size // 2 + 12345)
        file.write(bytes(3 * MIB))
    assert thaw.save("vm", tree)["new_bytes"] <= 2 * PAGE + 1024  # the two pages at the borders
    check_restores(thaw, work, "vm", tree)
    # A third of it becomes a hole.
    shutil.copy(image, f"{work}/copy")
    with open(image, "wb") as file, open(f"{work}/copy", "rb") as copy:
        file.truncate(size)
        for at in [*range(0, 8 * MIB, MIB), *range(16 * MIB, size, MIB)]:
            file.seek(at)
            copy.seek(at)
            file.write(copy.read(MIB))
    assert thaw.save("vm", tree)["new_bytes"] == 0
    check_restores(thaw, work, "vm", tree)
    assert os.stat(f"{work}/out/disk.img").st_blocks * 512 <= 16 * MIB
    # All of it.
    with open(image, "wb") as file:
        file.truncate(size)
    answer = thaw.save("vm", tree)
    assert (answer["new_bytes"], answer["stored_bytes"]) == (0, 0)
    check_restores(thaw, work, "vm", tree)
    assert os.stat(f"{work}/out/disk.img").st_blocks == 0
    # And back again: the base has nothing of it.
    make_image(image, size, rng)
    assert thaw.save("vm", tree)["new_bytes"] >= size
    check_restores(thaw, work, "vm", tree)


def test_another_key_and_another_name(thaw, work):
    """A child finds its parent by --base, and by its name where the path is another."""
    rng = seeded()
    tree = f"{work}/tree"
    make_image(f"{tree}/rootfs.ext4", 24 * MIB, rng)
    make_image(f"{tree}/memfile", 24 * MIB, rng)
    thaw.save("template", tree)
    changed = change_pages(f"{tree}/rootfs.ext4", rng.sample(range(24 * MIB // PAGE), 60), rng)
    changed += change_pages(f"{tree}/memfile", [4096], rng)
    answer = thaw.save("child", tree, "--base", "template")
    assert changed <= answer["new_bytes"] <= 1.1 * changed
    check_restores(thaw, work, "child", tree)
    # Its own last generation is closer than the template.
    changed = change_pages(f"{tree}/rootfs.ext4", rng.sample(range(24 * MIB // PAGE), 60), rng)
    assert thaw.save("child", tree, "--base", "template")["new_bytes"] <= 1.1 * changed
    os.makedirs(f"{tree}/moved")
    os.rename(f"{tree}/rootfs.ext4", f"{tree}/moved/rootfs.ext4")
    changed = change_pages(f"{tree}/moved/rootfs.ext4", rng.sample(range(24 * MIB // PAGE), 60), rng)
    assert thaw.save("child", tree)["new_bytes"] <= 1.1 * changed
    # With another name it has no parent to compare with; windows that no child changed are still shared.
    os.rename(f"{tree}/memfile", f"{tree}/other.mem")
    change_pages(f"{tree}/other.mem", [0], rng)
    assert thaw.save("child", tree)["new_bytes"] <= 2.1 * WINDOW
    check_restores(thaw, work, "child", tree)
    for key in ("template", "child@1", "child@2", "child@3"):
        thaw.ok("rm", key, "--yes")
    check_restores(thaw, work, "child", tree)
    thaw.clean()


@pytest.mark.parametrize("way", ["named", "sparse", "head", "base"])
def test_what_is_an_image(thaw, work, way):
    """By --image, by holes, by how a disk begins, or because the base's file was one: then a changed page costs a page."""
    rng = seeded()
    tree, size = f"{work}/tree", 20 * MIB
    image = f"{tree}/some-disk"
    make_image(image, size, rng, empty=range(4, 8) if way == "sparse" else range(0))
    if way == "head":
        with open(image, "r+b") as file:
            file.seek(1024)
            file.write(bytes(56) + b"\x53\xef" + bytes(100))
    words = ["--image", "some-*"] if way in ("named", "base") else []
    thaw.save("vm", tree, *words)
    change_pages(image, [1000, 3000, 4000], rng)
    assert 3 * PAGE <= thaw.save("vm", tree, *(words if way == "named" else []))["new_bytes"] <= 4 * PAGE
    check_restores(thaw, work, "vm", tree)


def test_an_image_over_a_file_that_was_cut_by_content(thaw, work):
    rng = seeded()
    tree, size = f"{work}/tree", 20 * MIB
    image = f"{tree}/some-disk"
    make_image(image, size, rng)
    thaw.save("vm", tree)
    change_pages(image, [1000, 3000, 4000], rng)
    assert thaw.save("vm", tree, "--image", "some-*")["new_bytes"] <= 4 * PAGE
    check_restores(thaw, work, "vm", tree)


def test_an_image_becomes_a_small_file_and_back(thaw, work):
    rng = seeded()
    tree = f"{work}/tree"
    image = f"{tree}/disk.img"
    make_image(image, 20 * MIB, rng)
    thaw.save("vm", tree)
    write(image, rng.randbytes(5000))
    thaw.save("vm", tree, "--allow-shrink")
    check_restores(thaw, work, "vm", tree)
    make_image(image, 20 * MIB, rng)
    thaw.save("vm", tree)
    check_restores(thaw, work, "vm", tree)


def test_an_unchanged_image_is_not_read(thaw, work):
    rng = seeded()
    tree = f"{work}/tree"
    make_image(f"{tree}/disk.img", 20 * MIB, rng)
    write(f"{tree}/small", b"1")
    for _ in range(50):
        if thaw.save("vm", tree)["files_read"] == 0:
            break
    write(f"{tree}/small", b"2")
    answer = thaw.save("vm", tree)
    assert (answer["generation"], answer["files_read"]) == (2, 1)
    check_restores(thaw, work, "vm", tree)


@pytest.mark.asan
@needs_zstd
def test_a_base_with_a_damaged_chunk(thaw, work):
    """What cannot be read of a base is stored anew, and the save says so."""
    rng = seeded()
    tree, size = f"{work}/tree", 20 * MIB
    image = f"{tree}/disk.img"
    make_image(image, size, rng)
    thaw.save("vm", tree)
    _, manifest, _ = fmt.read_snapshot(thaw.store, "vm", 1)
    first = manifest["extent_chunks"][manifest["extent_file_offsets"].index(4 * MIB)]
    pack = manifest.packs[manifest["chunk_packs"][first]][0].hex()
    path = f"{thaw.store}/packs/{pack[:2]}/{pack}"
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(manifest["chunk_offsets"][first] + 1000)
        file.write(b"damage")
    changed = change_pages(image, [4 * MIB // PAGE + 5, 10 * MIB // PAGE + 5], rng)
    answer = thaw.save("vm", tree)
    assert WINDOW < answer["new_bytes"] <= WINDOW + changed + 4096
    assert b"a base cannot be read" in answer.err and pack.encode() in answer.err
    check_restores(thaw, work, "vm", tree)
    # It is known now, and the pack that holds the rest is no base any more.
    change_pages(image, [1], rng)
    answer = thaw.save("vm", tree)
    assert answer["new_bytes"] >= size and b"broken" in answer.err
    check_restores(thaw, work, "vm", tree)
