"""thaw read and thaw extract: any range of any file of a snapshot, one file of it, and any object of a store."""

import os
import random
import stat
import subprocess
import threading

import pytest

import mounts
import trees
from driver import Thaw, binary, was_killed
from trees import data_map, remove, write

MIB = 1 << 20
NOBODY = 65534
ODD_NAMES = [b"-dash", b"--offset", b"new\nline", b"\xff\xfe\x01", b"sp ace", "ünï".encode(), b"a@2", b"it's \"q\"",
             b"*", b"back\\slash", b"%s"]


def sparse(path, size, runs):
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, content in runs:
            file.seek(offset)
            file.write(content)


def image(rng, windows=5, odd=4097):
    """Windows of 2 MiB: data, zeros, both, and an end that fits no grid."""
    out = bytearray(windows * 2 * MIB + odd)
    for window in range(0, windows, 2):
        at = window * 2 * MIB
        out[at:at + MIB] = trees.words(rng, MIB)
        out[at + MIB:at + MIB + 300_000] = rng.randbytes(300_000)
    out[-odd:] = rng.randbytes(odd)
    return out


def change_pages(rng, content, share=0.02):
    for page in range(len(content) // 4096):
        if rng.random() < share:
            content[page * 4096:page * 4096 + 4096] = rng.randbytes(4096)


class Frozen:
    """A key of two generations with a file of every kind; `content` has what read must answer, by generation."""

    def __init__(self, root):
        self.thaw = Thaw(root)
        self.tree = f"{root}/tree"
        rng = random.Random(11)
        for i in range(20):
            write(f"{self.tree}/d/small{i}", trees.words(rng, rng.randrange(1, 6000)))
        write(f"{self.tree}/d/nested/deep/file", b"deep")
        write(f"{self.tree}/copy", open(f"{self.tree}/d/small3", "rb").read())
        write(f"{self.tree}/empty", b"")
        write(f"{self.tree}/one", b"1")
        write(f"{self.tree}/leaf", rng.randbytes(MIB))
        write(f"{self.tree}/large", trees.words(rng, 5 * MIB) + rng.randbytes(3 * MIB + 77),
              0o640, 1_600_000_000_123_456_789)
        sparse(f"{self.tree}/sparse", 40 * MIB + 5, [(3 * MIB, b"x" * 5000), (20 * MIB - 3, trees.words(rng, 700_000))])
        sparse(f"{self.tree}/hole", 5 * MIB, [])
        write(f"{self.tree}/vm.img", bytes(image(rng)))
        for name in ODD_NAMES:
            with open(os.path.join(self.tree.encode(), name), "wb") as file:
                file.write(b"named " + name)
        os.link(f"{self.tree}/large", f"{self.tree}/hard")
        os.symlink("d/small0", f"{self.tree}/soft")
        os.symlink("d", f"{self.tree}/softdir")
        os.symlink("nowhere", f"{self.tree}/dangling")
        os.mkfifo(f"{self.tree}/fifo")
        self.content = {}
        self._save(1)
        changed = bytearray(self.content[1]["vm.img"])
        change_pages(rng, changed)
        write(f"{self.tree}/vm.img", bytes(changed))
        write(f"{self.tree}/d/small5", b"second")
        self._save(2)

    def _save(self, generation):
        answer = self.thaw.save("k", self.tree, "--image", "*.img")
        assert answer["generation"] == generation
        plain = [os.path.relpath(os.path.join(folder, name), self.tree)
                 for folder, _, names in os.walk(self.tree) for name in names]
        self.content[generation] = {
            name: open(os.path.join(self.tree, name), "rb").read() for name in plain
            if stat.S_ISREG(os.lstat(os.path.join(self.tree, name)).st_mode)}

    def read(self, *words, **kw):
        return self.thaw.ok("read", *words, json=False, **kw).out

    def refused(self, code, *words, command="read", **kw):
        answer = self.thaw.fails(code, command, *words, json=False, **kw)
        assert answer.out == b"", answer
        return answer.err.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("read"))
    yield Frozen(root)
    remove(root)


# ---------------------------------------------------------------------------------------- what is read

@pytest.mark.asan
@pytest.mark.parametrize("generation", [1, 2])
def test_whole_files(frozen, generation):
    for name, content in frozen.content[generation].items():
        assert frozen.read(f"k@{generation}", "--", name) == content, name
    assert frozen.read("k", "vm.img") == frozen.content[2]["vm.img"]
    assert frozen.content[1]["vm.img"] != frozen.content[2]["vm.img"]


def ranges_of(rng, size):
    """Pairs of offset and length, None for up to the end, around every border that there is."""
    borders = {0, 1, 4096, 65536, MIB, 2 * MIB, 4 * MIB, size // 2, size - 1, size}
    for offset in sorted(each for each in borders if 0 <= each <= size):
        yield offset, None
        if offset < size:
            yield offset, 1
        if 0 < offset < size:
            yield offset - 1, 2
    for _ in range(4):
        offset = rng.randrange(size)
        yield offset, rng.randrange(1, size - offset + 1)


@pytest.mark.asan
@pytest.mark.parametrize("name", ["one", "d/small7", "leaf", "large", "sparse", "hole", "vm.img"])
def test_ranges(frozen, name):
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    content = frozen.content[2][name]
    for offset, length in ranges_of(random.Random(seed), len(content)):
        words = ["--offset", str(offset)] + (["--length", str(length)] if length else [])
        end = len(content) if length is None else offset + length
        assert frozen.read("k", name, *words) == content[offset:end], words


def test_ways_to_write_a_path(frozen):
    content = frozen.content[2]["d/nested/deep/file"]
    for path in ("/d/nested/deep/file", "./d/nested/deep/file", "d//nested/./deep/file", "d/nested/deep/file/"):
        assert frozen.read("k", path) == content, path


def test_links_to_one_inode_and_equal_files(frozen):
    assert frozen.read("k", "hard") == frozen.read("k", "large") == frozen.content[2]["large"]
    assert frozen.read("k", "copy") == frozen.content[2]["d/small3"]


@pytest.mark.asan
@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_any_bytes(frozen, work, name):
    assert frozen.read("k", "--", name) == b"named " + name
    assert frozen.read("k", b"./" + name) == b"named " + name
    answer = frozen.thaw.ok("extract", "k", "--", name, f"{work}/out")
    assert answer["bytes"] == 6 + len(name)
    assert open(f"{work}/out", "rb").read() == b"named " + name


def test_an_offset_at_the_end_is_no_error(frozen):
    assert frozen.read("k", "one", "--offset", "1") == b""
    assert frozen.read("k", "empty", "--offset", "0") == b""
    assert frozen.read("k", "empty") == b""


# ---------------------------------------------------------------------------------------------- errors

@pytest.mark.asan
@pytest.mark.parametrize("words, said", [
    (["--offset", "2"], "past the end, at 1"),
    (["--offset", "18446744073709551615"], "past the end"),
    (["--length", "0"], "asks for nothing"),
    (["--length", "2"], "more than the 1 bytes"),
    (["--length", "18446744073709551615"], "more than the 1 bytes"),
    (["--offset", "1", "--length", "1"], "more than the 0 bytes"),
    (["--offset", "18446744073709551615", "--length", "18446744073709551615"], "past the end"),
    (["--offset", "18446744073709551616"], "more than any file has"),
    (["--length", "99999999999999999999999"], "more than any file has"),
    (["--offset=-1"], "number of bytes"),
    (["--offset", "-1"], ""),
    (["--length=-1"], "number of bytes"),
    (["--offset", "1.5"], "number of bytes"),
    (["--offset", "1k"], "number of bytes"),
    (["--offset", "0x1"], "number of bytes"),
    (["--offset", " 1"], "number of bytes"),
    (["--offset", "+1"], "number of bytes"),
    (["--offset", "1", "--offset", "0"], "more than once"),
    (["--offset"], ""),
    (["extra"], "one word too many"),
    (["--json"], "no JSON"),
    (["--object", "x"], "takes the place"),
], ids=lambda each: " ".join(each) if isinstance(each, list) else None)
def test_wrong_usage_of_read(frozen, words, said):
    if words == ["--json"]:
        answer = frozen.thaw.fails(2, "read", "k", "one")  # the driver asks for JSON
        assert said in answer["message"]
        return
    assert said in frozen.refused(2, "k", "one", *words)


@pytest.mark.asan
@pytest.mark.parametrize("command", ["read", "extract"])
def test_what_is_no_file(frozen, work, command):
    more = [] if command == "read" else [f"{work}/out"]
    for path, said in {
            "d": "d is a directory", "d/": "is a directory", "/": "root is a directory", ".": "root is a directory",
            "soft": "symbolic link to d/small0", "dangling": "symbolic link to nowhere",
            "softdir/small0": "symbolic link to d", "fifo": "no regular file", "d/../one": '".."'}.items():
        assert said in frozen.refused(2, "k", path, *more, command=command), path
    for path in ("nothing", "d/nothing", "one/below", "D", "d/small", "d/small77"):
        assert path in frozen.refused(3, "k", path, *more, command=command)
    for ref in ("other", "k@3", "K", "k/one"):
        assert "no snapshot of" in frozen.refused(3, ref, "one", *more, command=command)
    for words in ([], ["k"], ["k", ""], ["", "one"], ["k@0", "one"], ["k@x", "one"], ["k//a", "one"]):
        frozen.refused(2, *words, *(more if len(words) == 2 else []), command=command)
    assert os.listdir(work) == []


def test_an_absent_store(frozen, work):
    assert "no snapshot of k" in frozen.refused(3, "k", "one", "--store", f"{work}/none")
    frozen.refused(3, "--object", "x", "--store", f"{work}/none")
    assert not os.path.exists(f"{work}/none")


def test_advisory(frozen, work):
    """No result stands on standard output; the exit code is 0 unless the words are wrong."""
    named = ["--advisory", "--store", frozen.thaw.store]
    assert frozen.read("k", "one", *named) == b"1"
    assert frozen.read("k", "nothing", *named) == b""
    assert frozen.read("nothing", "one", *named) == b""
    frozen.refused(2, "k", "one", "--length", "0", *named)
    assert frozen.read("k", "one", "--advisory") == b""  # no store is named
    answer = frozen.thaw.ok("extract", "k", "nothing", f"{work}/out", *named, json=False)
    assert not os.path.exists(f"{work}/out"), answer


def test_a_reader_that_has_had_enough(frozen):
    for words in (["k", "large"], ["k", "sparse"], ["--object", frozen.thaw.objects("packs")[0]]):
        process = frozen.thaw.start("read", *words, json=False)
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(timeout=60), err) == (0, b""), words
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"'{binary()}' read k large | head -c 10"], env=frozen.thaw.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert (shell.returncode, shell.stdout, shell.stderr) == (0, frozen.content[2]["large"][:10], b"")


def test_a_full_standard_output_is_a_failure(frozen):
    with open("/dev/full", "wb") as full:
        process = frozen.thaw.start("read", "k", "large", json=False, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (1, 4) and b"standard output" in err, err


def test_a_timeout_ends_a_read_that_nobody_takes(frozen):
    process = frozen.thaw.start("read", "k", "large", "--timeout", "1s", json=False)
    assert process.wait(timeout=60) == 1  # its pipe is full meanwhile
    taken, err = process.communicate()
    assert frozen.content[2]["large"].startswith(taken), err


# -------------------------------------------------------------------------------------- a damaged store

@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damage_is_never_read(thaw, work, damage):
    rng = random.Random(3)
    content = rng.randbytes(6 * MIB)
    write(f"{work}/tree/file", content)
    write(f"{work}/out", b"before")
    thaw.save("k", f"{work}/tree")
    name, = thaw.objects("packs")
    path = f"{thaw.store}/{name}"
    size = os.path.getsize(path)
    if damage == "flipped":
        with open(path, "r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 1]))
    elif damage == "cut":
        os.truncate(path, size // 2)
    else:
        os.unlink(path)
    answer = thaw.fails(1, "read", "k", "file", json=False)
    assert content.startswith(answer.out), "a wrong byte"
    assert name.encode() in answer.err, answer
    answer = thaw.fails(1, "extract", "k", "file", f"{work}/out")
    assert name in answer["message"], answer
    assert open(f"{work}/out", "rb").read() == b"before"
    assert not [each for each in os.listdir(work) if each.startswith(".thaw")]


# --------------------------------------------------------------------------------------------- objects

@pytest.mark.asan
def test_raw_objects_of_a_disk_store(thaw, work):
    rng = random.Random(5)
    content = rng.randbytes(9 * MIB + 3)
    write(f"{thaw.store}/templates/old/rootfs.ext4", content)
    write(f"{thaw.store}/templates/empty", b"")
    write(f"{work}/outside", b"outside")

    def read(*words):
        return thaw.ok("read", "--object", *words, json=False).out

    name = "templates/old/rootfs.ext4"
    assert read(name) == content
    for offset, length in ((0, 1), (1, 9 * MIB), (4 * MIB - 1, 2), (9 * MIB, None), (9 * MIB + 3, None)):
        words = ["--offset", str(offset)] + (["--length", str(length)] if length else [])
        assert read(name, *words) == content[offset:offset + length if length else None]
    assert read("templates/empty") == b""
    for code, *words in ((3, "templates/none"), (3, "none"), (2, ""), (2, "../outside"), (2, "/etc/hostname"),
                         (2, "a//b"), (2, name, "--offset", "9437188"), (2, name, "--length", "9437188"),
                         (2, name, "--length", "0"), (2, name, "extra"), (3, "templates"), (3, f"{name}/below")):
        answer = thaw.fails(code, "read", "--object", *words, json=False)
        assert answer.out == b"", answer


def test_links_in_a_disk_store_lead_nowhere(thaw, work):
    write(f"{work}/secret", b"secret")
    os.makedirs(f"{thaw.store}/t")
    os.symlink(f"{work}/secret", f"{thaw.store}/t/link")
    os.mkfifo(f"{thaw.store}/t/fifo")
    for name in ("t/link", "t/fifo"):
        answer = thaw.run("read", "--object", name, json=False)
        assert answer.code in (1, 3) and answer.out == b"", answer


def test_raw_objects_of_a_bucket(s3, work):
    content = random.Random(6).randbytes(9 * MIB + 3)
    s3.client.put(f"{s3.prefix}/templates/ü b+c%2f", content)
    s3.client.put(f"{s3.prefix}/empty", b"")
    s3.client.put("outside", b"outside")
    name = "templates/ü b+c%2f"
    assert s3.ok("read", "--object", name, json=False).out == content
    assert s3.ok("read", "--object", name, "--offset", "4194303", "--length", "2", json=False).out == \
        content[4194303:4194305]
    assert s3.ok("read", "--object", "empty", json=False).out == b""
    for code, *words in ((3, "none"), (3, "outside"), (2, "../outside"), (2, name, "--offset", "9437188")):
        assert s3.fails(code, "read", "--object", *words, json=False).out == b""
    write(f"{work}/tree/file", content)
    s3.save("k", f"{work}/tree")
    assert s3.ok("read", "k", "file", "--offset", "100", "--length", "1000000", json=False).out == content[100:1000100]
    s3.ok("extract", "k", "file", f"{work}/out")
    assert open(f"{work}/out", "rb").read() == content


# --------------------------------------------------------------------------------------------- extract

@pytest.mark.asan
def test_extract(frozen, work):
    for name in ("empty", "one", "d/small7", "leaf", "large", "hard", "sparse", "hole", "vm.img"):
        source, out = f"{frozen.tree}/{name}", f"{work}/out"
        answer = frozen.thaw.ok("extract", "k", name, out)
        content = frozen.content[2][name]
        assert open(out, "rb").read() == content, name
        assert (answer["bytes"], answer["key"], answer["generation"]) == (len(content), "k", 2)
        one, other = os.stat(source), os.stat(out)
        assert (one.st_mode, one.st_mtime_ns, one.st_uid) == (other.st_mode, other.st_mtime_ns, other.st_uid), name
        assert other.st_nlink == 1
        assert answer["written_bytes"] <= len(content)
    assert os.listdir(work) == ["out"]


def test_holes_stay_holes(frozen, work):
    """What was data is data; long runs without are none, and cost no blocks."""
    for name in ("sparse", "hole", "vm.img"):
        out = f"{work}/{name}"
        answer = frozen.thaw.ok("extract", "k", name, out)
        content = frozen.content[2][name]
        assert os.path.getsize(out) == len(content)
        assert sum(end - begin for begin, end in data_map(out)) <= answer["written_bytes"] + 16 * 4096, name
        assert os.stat(out).st_blocks * 512 <= answer["written_bytes"] + 64 * 4096, name
        zeros = len(content) - len(content.replace(b"\0" * 65536, b""))
        assert answer["written_bytes"] <= len(content) - zeros // 2, name
    assert os.stat(f"{work}/hole").st_blocks == 0


def test_attributes(thaw, work):
    path = f"{work}/tree/file"
    write(path, b"content", 0o4751, 1_500_000_000_000_000_001)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
        os.chmod(path, 0o4751)
    os.utime(path, ns=(1_500_000_000_000_000_001,) * 2)
    try:
        os.setxattr(path, "user.a", b"1")
    except OSError:
        pytest.skip("no user.* attributes here")
    thaw.save("k", f"{work}/tree")
    thaw.ok("extract", "k", "file", f"{work}/out")
    one, other = os.stat(path), os.stat(f"{work}/out")
    fields = ("st_mode", "st_mtime_ns", "st_uid", "st_gid")
    assert [getattr(one, each) for each in fields] == [getattr(other, each) for each in fields]
    assert os.getxattr(f"{work}/out", "user.a") == b"1"
    thaw.ok("extract", "k", "file", f"{work}/plain", "--no-xattrs", "--no-owner")
    assert os.listxattr(f"{work}/plain") == []
    assert os.stat(f"{work}/plain").st_uid == os.geteuid()


def test_out_is_replaced_not_written(frozen, work):
    """Who has the old file open, or has another name for it, keeps it."""
    out = f"{work}/out"
    write(out, b"before")
    os.link(out, f"{work}/other")
    with open(out, "rb") as held:
        frozen.thaw.ok("extract", "k", "large", out)
        assert held.read() == b"before"
    assert open(f"{work}/other", "rb").read() == b"before"
    assert open(out, "rb").read() == frozen.content[2]["large"]
    os.symlink("out", f"{work}/link")
    frozen.thaw.ok("extract", "k", "one", f"{work}/link")
    assert os.readlink(f"{work}/link") == "out" and open(out, "rb").read() == b"1"


def test_out_is_whole_at_every_moment(frozen, work):
    out = f"{work}/out"
    small, large = frozen.content[2]["d/small7"], frozen.content[2]["large"]
    frozen.thaw.ok("extract", "k", "d/small7", out)
    seen, over = set(), threading.Event()

    def look():
        while not over.is_set():
            content = open(out, "rb").read()
            seen.add({small: "small", large: "large"}.get(content, "something else"))
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(5):
            frozen.thaw.ok("extract", "k", "large", out)
            frozen.thaw.ok("extract", "k", "d/small7", out)
    finally:
        over.set()
        watcher.join()
    assert seen <= {"small", "large"} and "small" in seen


def test_killed_at_every_step(frozen, work, interposer):
    """OUT is the old file or the new one, and nothing else is left but a stage that says whose it is."""
    large, killed, number, seen = frozen.content[2]["large"], True, 0, set()
    folder = f"{work}/folder"
    while killed:
        number += 1
        remove(folder)
        write(f"{folder}/out", b"before")
        process = frozen.thaw.start("extract", "k", "large", f"{folder}/out",
                                    env={"LD_PRELOAD": interposer, "INTERPOSE_KILL_AT": str(number)})
        out, err = process.communicate(timeout=60)
        killed = was_killed(process.returncode)
        assert killed or process.returncode == 0, (number, out, err)
        content = open(f"{folder}/out", "rb").read()
        assert content in (b"before", large), number
        seen.add(content == large)
        rest = set(os.listdir(folder)) - {"out"}
        assert all(each.startswith(".thaw-extract-") for each in rest), rest
        assert not rest or killed
        frozen.thaw.ok("extract", "k", "d/small7", f"{folder}/other")
        assert set(os.listdir(folder)) == {"out", "other"}, "the next one removes what is left"
    assert seen == {False, True} and number > 2


@pytest.mark.asan
def test_where_nothing_can_go(frozen, work):
    os.makedirs(f"{work}/folder/in")
    write(f"{work}/file", b"before")
    os.symlink("nowhere", f"{work}/dangling")
    os.symlink("folder", f"{work}/link")
    os.mkfifo(f"{work}/fifo")
    before = sorted(os.listdir(work))
    for out in ("", "/", ".", "..", f"{work}/folder", f"{work}/folder/", f"{work}/link", f"{work}/none/out",
                f"{work}/none/", f"{work}/file/out", f"{work}/dangling", f"{work}/fifo", "/dev/null"):
        said = frozen.refused(2, "k", "one", out, command="extract")
        assert said, out
    assert sorted(os.listdir(work)) == before
    assert open(f"{work}/file", "rb").read() == b"before"
    answer = frozen.thaw.fails(3, "extract", "k", "nothing", f"{work}/file")
    assert answer["reason"] == "miss" and "nothing" in answer["message"], answer
    assert open(f"{work}/file", "rb").read() == b"before"


def test_a_name_that_is_too_long(frozen, work):
    answer = frozen.thaw.run("extract", "k", "one", f"{work}/{'x' * 256}")
    assert answer.code in (1, 2) and "x" * 20 in answer["message"], answer


def test_relative_out(frozen, work):
    frozen.thaw.ok("extract", "k", "one", "out", cwd=work)
    frozen.thaw.ok("extract", "k", "one", "./two", cwd=work)
    assert open(f"{work}/out", "rb").read() == open(f"{work}/two", "rb").read() == b"1"


def test_a_folder_that_cannot_be_written(frozen, work, as_root):
    # Reached by everybody, so that only the folder's own mode forbids.
    user = Thaw(f"{work}/u")
    os.makedirs(f"{work}/closed")
    write(f"{work}/tree/file", b"content")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", f"{work}/u", f"{work}/tree"], check=True)
    me = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    user.save("k", f"{work}/tree", **me)
    answer = user.fails(1, "extract", "k", "file", f"{work}/closed/out", **me)
    assert answer["reason"] == "denied", answer
    assert os.listdir(f"{work}/closed") == []
    with mounts.read_only(f"{work}/closed"):
        assert frozen.thaw.fails(1, "extract", "k", "one", f"{work}/closed/out")["message"]
    assert os.listdir(f"{work}/closed") == []


def test_a_full_disk(frozen, work, as_root):
    with mounts.tmpfs(f"{work}/full", "size=2m") as full:
        write(f"{full}/out", b"before")
        answer = frozen.thaw.fails(4, "extract", "k", "large", f"{full}/out")
        assert answer["reason"] == "exhausted", answer
        assert os.listdir(full) == ["out"] and open(f"{full}/out", "rb").read() == b"before"
        # What is sparse needs room for its data only.
        frozen.thaw.ok("extract", "k", "sparse", f"{full}/out")


def test_into_the_store_is_refused(frozen):
    """As a restore into it is: an object that a snapshot needs would be gone."""
    name = frozen.thaw.objects("packs")[0]
    path = f"{frozen.thaw.store}/{name}"
    before = open(path, "rb").read()
    assert "store" in frozen.refused(2, "k", "one", path, command="extract")
    frozen.refused(2, "k", "one", f"{frozen.thaw.store}/new", command="extract")
    assert open(path, "rb").read() == before
