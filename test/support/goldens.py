"""What lies in a golden root, for tests."""

import os


def root_of(thaw):
    return f"{thaw.root}/data/thaw/golden"


def settled(thaw, name="g"):
    """Nothing temporary lies in the golden's folder."""
    entries = os.listdir(f"{root_of(thaw)}/{name}")
    assert not [each for each in entries if each.startswith(".") or each.endswith(".new")], entries
    left = os.listdir(f"{root_of(thaw)}/{name}/clones")
    assert all(each.endswith(".json") for each in left), left
