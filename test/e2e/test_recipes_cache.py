"""The examples of docs/recipes.md, "CI caches": their commands, with the variables that each CI sets."""

import json
import os
import re
import subprocess

import pytest

from driver import binary
from trees import assert_same, describe, remove, write

RECIPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/recipes.md")
PROGRAMS = ("thaw ", "npm ", "buildkite-agent ")


def section(title):
    """The text below a headline, up to the next one of that rank or a higher one."""
    with open(RECIPES, encoding="utf-8") as file:
        text = file.read()
    rank = re.search(rf"^(#+) {re.escape(title)}$", text, re.M)
    rest = text[rank.end():]
    end = re.search(rf"^#{{1,{len(rank[1])}}} ", rest, re.M)
    return rest[:end.start()] if end else rest


def yaml_of(title):
    return re.search(r"^```yaml\n(.*?)^```", section(title), re.M | re.S)[1]


def commands_of(title):
    """The lines of a pipeline that are commands."""
    lines = [re.sub(r"^\s*- (run: )?", "", line) for line in yaml_of(title).splitlines()]
    return [line for line in lines if line.startswith(PROGRAMS)]


class Job:
    """A checkout and a home, and programs that stand for those of a CI's machine."""

    def __init__(self, thaw, name, variables):
        self.cwd, self.home, self.programs = (f"{thaw.root}/{name}/{each}" for each in ("cwd", "home", "bin"))
        for folder in (self.cwd, self.home, self.programs):
            os.makedirs(folder)
        os.symlink(binary(), f"{self.programs}/thaw")
        self.program("npm", "mkdir -p node_modules/a ~/.npm; echo package > node_modules/a/index.js; echo x > ~/.npm/x")
        self.program("buildkite-agent", 'cat > "annotation.md"')
        write(f"{self.cwd}/.thaw/cache.yml", yaml_of("CI caches").encode())
        write(f"{self.cwd}/package-lock.json", b"{}")
        others = ("BUILDKITE", "GITHUB", "GITLAB", "CI_")
        self.env = {each: value for each, value in thaw.env.items() if not each.startswith(others)}
        self.env.update(variables, HOME=self.home, THAW_STORE=f"{thaw.root}/store",
                        PATH=f"{self.programs}:{os.environ['PATH']}")

    def program(self, name, script):
        write(f"{self.programs}/{name}", f"#!/bin/sh\n{script}\n".encode(), mode=0o755)

    def run(self, commands):
        """As a CI does: the first that fails ends the job. What was printed."""
        done = subprocess.run(["sh", "-e", "-c", "\n".join(commands)], cwd=self.cwd, env=self.env, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        assert done.returncode == 0, done.stdout
        return done.stdout.decode()


def github_event(folder, **event):
    path = f"{folder}/event.json"
    write(path, json.dumps({"repository": {"default_branch": "main"}, **event}).encode())
    return path


# What each CI sets in a job of the branch main, as its documentation says.
def main_of(ci, folder):
    return {
        "Buildkite": lambda: {
            "BUILDKITE": "true", "BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main", "BUILDKITE_ORGANIZATION_SLUG": "acme",
            "BUILDKITE_PIPELINE_SLUG": "shop", "BUILDKITE_STEP_KEY": "test", "BUILDKITE_STEP_ID": "0190-step",
            "BUILDKITE_REPO": "git@github.com:acme/shop.git"},
        "GitHub Actions": lambda: {
            "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch", "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_JOB": "test", "GITHUB_WORKFLOW": "CI", "GITHUB_EVENT_PATH": github_event(folder),
            "GITHUB_STEP_SUMMARY": f"{folder}/summary.md"},
        "GitLab": lambda: {
            "CI": "true", "GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main",
            "CI_DEFAULT_BRANCH": "main", "CI_PROJECT_PATH": "acme/shop", "CI_PROJECT_NAME": "shop",
            "CI_JOB_NAME": "test"},
    }[ci]()


# The same of a pull request's job, from a fork or not.
def request_of(ci, folder, head):
    main = main_of(ci, folder)
    if ci == "Buildkite":
        return {**main, "BUILDKITE_BRANCH": "topic", "BUILDKITE_PULL_REQUEST": "5",
                "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main",
                "BUILDKITE_PULL_REQUEST_REPO": f"https://github.com/{head}.git"}
    if ci == "GitHub Actions":
        event = github_event(folder, pull_request={"number": 5, "base": {"ref": "main"},
                                                   "head": {"repo": {"full_name": head}}})
        return {**main, "GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/5/merge",
                "GITHUB_REF_NAME": "5/merge", "GITHUB_HEAD_REF": "topic", "GITHUB_BASE_REF": "main",
                "GITHUB_EVENT_PATH": event}
    del main["CI_COMMIT_BRANCH"]
    return {**main, "CI_MERGE_REQUEST_IID": "5", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_PROJECT_PATH": "acme/shop",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": head}


@pytest.mark.parametrize("ci", ["Buildkite", "GitHub Actions", "GitLab"])
def test_the_example_works(thaw, ci):
    commands = commands_of(ci)
    assert sum(each.startswith("thaw cache") for each in commands) == 2 and len(commands) >= 3, commands
    first = Job(thaw, "first", main_of(ci, f"{thaw.root}/first"))
    said = first.run(commands)
    assert "restored 0 of 1 cache" in said and "saved 1 of 1 cache" in said, said
    tree = describe(f"{first.cwd}/node_modules")
    summary = {"Buildkite": f"{first.cwd}/annotation.md", "GitHub Actions": f"{thaw.root}/first/summary.md"}.get(ci)
    if summary:
        with open(summary, encoding="utf-8") as file:
            assert file.read().startswith("### Caches: restored 0 of 1 cache")

    for name, head in (("own", "acme/shop"), ("fork", "mallory/shop")):
        job = Job(thaw, name, request_of(ci, f"{thaw.root}/{name}", head))
        job.program("npm", "true")
        said = job.run(commands)
        assert "restored 1 of 1 cache" in said and "exact" in said, said
        assert_same(tree, f"{job.cwd}/node_modules")
        # What a pull request makes reaches nobody else; a fork's job makes nothing.
        write(f"{job.cwd}/package-lock.json", b"{2}")
        said = job.run(commands)
        saves = name == "own" and ci != "GitLab"
        assert f"saved {int(saves)} of 1 cache" in said, said
        remove(f"{thaw.root}/{name}")
    scopes = set(os.listdir(f"{thaw.root}/store/keys/ci/acme=2Fshop"))
    assert scopes == ({"branch.main"} if ci == "GitLab" else {"branch.main", "pr.5"})
