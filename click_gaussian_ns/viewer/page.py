"""Our part of the browser's page: sent to each browser when it connects, and what it says read in order.

viser turns its camera off while it listens to clicks, and forwards neither keys nor what is held with a click. Its
client runs JavaScript that the server sends (as it does to load plotly), with its own state in scope: page/*.js listens
beside viser and answers through a text field that is never shown.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import viser
from viser._messages import RunJavascriptMessage

from click_gaussian_ns.viewer.page_events import Hovered, PageEvent, read_events

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent / "page"
_SCRIPTS = ("channel.js", "pointer.js", "bar.js", "objects.js", "keys.js")


@dataclass
class _Browser:
    client: viser.ClientHandle
    told: dict[str, str] = field(default_factory=dict)
    """The last message of each type."""
    reading: threading.Lock = field(default_factory=threading.Lock)
    """viser calls back from many threads: one at a time answers a browser's events."""
    last: int = 0


class Page:
    """All browsers' pages."""

    def __init__(self, server: viser.ViserServer, on_event: Callable[[viser.ClientHandle, PageEvent], None]) -> None:
        self._on_event = on_event
        self._browsers: dict[int, _Browser] = {}
        self._state: dict[str, Mapping[str, Any]] = {}
        """The last message of each type that all browsers were told."""
        server.on_client_connect(self._connected)
        server.on_client_disconnect(self._disconnected)

    def tell_all(self, message: Mapping[str, Any]) -> None:
        """Let every browser, also one that comes later, know of a state; what a browser knows already is not sent."""
        self._state[message["type"]] = message
        for browser in list(self._browsers.values()):
            _tell(browser, message)

    def tell(self, client: viser.ClientHandle, message: Mapping[str, Any]) -> None:
        """Let one browser know of something that passes."""
        run_in_browser(client, f"window.clickGaussian?.receive({_as_javascript(message)})")

    def _connected(self, client: viser.ClientHandle) -> None:
        browser = _Browser(client)
        channel = client.gui.add_text("", "", visible=False)
        channel.on_update(lambda event: self._read(browser, event.target.value))
        run_in_browser(client, _program(channel._impl.id))
        self._browsers[client.client_id] = browser
        for message in list(self._state.values()):
            _tell(browser, message)

    def _disconnected(self, client: viser.ClientHandle) -> None:
        self._browsers.pop(client.client_id, None)

    def _read(self, browser: _Browser, text: str) -> None:
        with browser.reading:
            try:
                events, browser.last = read_events(text, browser.last)
            except ValueError as error:
                logger.warning("%s", error)
                return
            for place, event in enumerate(events):
                # where the pointer has been in the meantime does not matter any more
                if not isinstance(event, Hovered) or place == len(events) - 1:
                    self._on_event(browser.client, event)


def run_in_browser(client: viser.ClientHandle, source: str) -> None:
    """Run JavaScript in one browser. The message is not kept for others."""
    client.gui._websock_interface.queue_message(RunJavascriptMessage(source))


def _tell(browser: _Browser, message: Mapping[str, Any]) -> None:
    text = _as_javascript(message)
    if browser.told.get(message["type"]) != text:
        browser.told[message["type"]] = text
        run_in_browser(browser.client, f"window.clickGaussian?.receive({text})")


def _as_javascript(message: Mapping[str, Any]) -> str:
    """JSON is JavaScript."""
    return json.dumps(message)


@cache
def _scripts() -> tuple[str, str]:
    return "\n".join((_FOLDER / name).read_text(encoding="utf8") for name in _SCRIPTS), (
        _FOLDER / "style.css"
    ).read_text(encoding="utf8")


def _program(channel: str) -> str:
    scripts, style = _scripts()
    names = f"const CHANNEL = {json.dumps(channel)}, STYLE = {json.dumps(style)};"
    return f"(() => {{ 'use strict'; {names}\n{scripts}\n}})()"
