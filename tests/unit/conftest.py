"""Fixtures that unit tests share."""

import socket
from collections.abc import Iterator

import pytest
import viser


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    """On a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield started
    started.stop()
