"""A server to talk to, and proxies before it."""

import contextlib

import pytest

from fault_proxy import FaultProxy
from faults import Script
from small_server import Upstream


@pytest.fixture
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture
def through(upstream):
    """Starts a proxy before `upstream`; bare faults are its script."""
    with contextlib.ExitStack() as stack:
        def start(*steps, schedule=None, **kw):
            return stack.enter_context(FaultProxy(upstream.endpoint, schedule or Script(*steps), **kw))
        yield start
