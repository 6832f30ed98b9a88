"""Mounts for a test's time. Needs root; a kernel or container that forbids them skips the test."""

import contextlib
import os
import shutil
import subprocess

import pytest


def _mount(*words):
    done = subprocess.run(["mount", *words], stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")


@contextlib.contextmanager
def _unmounted(path):
    place = os.open(path, os.O_PATH)
    try:
        yield path
    finally:
        # A swap of the folders above it may have taken it elsewhere.
        where = os.readlink(f"/proc/self/fd/{place}")
        os.close(place)
        subprocess.run(["umount", "-l", where], check=False)


@contextlib.contextmanager
def tmpfs(path, options="size=64m"):
    os.makedirs(path, exist_ok=True)
    _mount("-t", "tmpfs", "-o", options, "tmpfs", path)
    with _unmounted(path):
        yield path


@contextlib.contextmanager
def bind(source, path):
    _mount("--bind", source, path)
    with _unmounted(path):
        yield path


@contextlib.contextmanager
def read_only(path):
    """The folder itself, mounted over itself read-only."""
    _mount("--bind", path, path)
    with _unmounted(path):
        _mount("-o", "remount,ro,bind", path)
        yield path


@contextlib.contextmanager
def overlay(path, lower, upper, work):
    for folder in (path, lower, upper, work):
        os.makedirs(folder, exist_ok=True)
    _mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", path)
    with _unmounted(path):
        yield path


@contextlib.contextmanager
def in_a_file(kind, path, size_mb):
    """A filesystem in a loop file beside `path`; skips where it cannot be made or mounted."""
    maker = shutil.which(f"mkfs.{kind}", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if maker is None:
        pytest.skip(f"no mkfs.{kind} here")
    file = f"{path}.image"
    with open(file, "wb") as image:
        image.truncate(size_mb << 20)
    done = subprocess.run([maker, "-q", file], stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot make {kind} here: {done.stderr.decode().strip()}")
    os.makedirs(path, exist_ok=True)
    _mount("-o", "loop", "-t", kind, file, path)
    with _unmounted(path):
        yield path
