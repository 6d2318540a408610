"""What the parts of the panel share: running an operation, and telling the user how it went."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import viser

from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.host import Host

logger = logging.getLogger(__name__)

LOG_FILE = "click_tool.log"
"""In the run's folder: every operation, with its time."""
VISER_SCALE = 10.0
"""nerfstudio shows the scene ten times as large in viser."""
Color = Literal["yellow", "red"]
_SHOWN_MS = 5000
_LONG_S = 1.0


@runtime_checkable
class PanelHost(Host, Protocol):
    """A host with nerfstudio's viewer around it."""

    def client_view(self, client: Any) -> PinholeView:
        """The camera of one browser as its frame at rest is drawn."""
        ...

    def rerender(self) -> None:
        """Draw a new frame in every browser."""
        ...

    def hide_cameras(self) -> bool:
        """Take the training cameras' frustums out of the way; False if there are none before training starts."""
        ...

    @property
    def photos(self) -> Sequence[PinholeView]:
        """Where the training photos were taken; none where there are none."""
        ...

    @property
    def is_training(self) -> bool:
        """Whether features go on changing, so that clusters go stale."""
        ...

    @property
    def panel_order(self) -> float:
        """Where the panel goes among nerfstudio's own elements."""
        ...

    @property
    def to_dataparser(self) -> Similarity: ...


def log_to(path: Path) -> None:
    """Let the operations of this process be written to a file from now on, after what it holds already."""
    for old in list(logger.handlers):
        logger.removeHandler(old)
        with suppress(OSError):
            old.close()
    handler = _LogFile(path, delay=True, encoding="utf8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _LogFile(logging.FileHandler):
    """A log that cannot be written stops no operation."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # opening the file, which the first record does, is outside logging's own guard
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """What matters goes to the terminal instead, without a second traceback about the log."""
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)


class Feedback:
    """Runs operations, and tells who asked how it went: in a corner of that browser, where it moves nothing."""

    def __init__(self, server: viser.ViserServer, refresh: Callable[[], object]) -> None:
        """`refresh` is called after every operation, whether it went well or not, and may have something to tell."""
        self._server, self._refresh = server, refresh
        self.text = ""
        """What was told last."""
        self._shown: dict[int, viser.NotificationHandle] = {}
        """The last one of each browser."""
        self.count = 0
        """Operations done so far."""

    def say(self, text: str, client: viser.ClientHandle | None = None, color: Color | None = None) -> None:
        """Show it for a while, to one browser or to all."""
        self.text = text
        for browser in self._browsers(client):
            old = self._shown.get(browser.client_id)
            if old is not None:
                old.remove()  # one at a time: they lie over the picture
            self._shown[browser.client_id] = browser.add_notification(
                "Click-Gaussian", one_line(text), auto_close=_SHOWN_MS, color=color
            )

    def run(self, operation: Callable[[], object], client: viser.ClientHandle | None = None) -> None:
        """Do it and show what it returns, or what is wrong with what was asked, or what went wrong."""
        with self._in_progress(client):
            self._guarded(operation, client)
        self._guarded(self._refresh, client)
        self.count += 1

    def _guarded(self, operation: Callable[[], object], client: viser.ClientHandle | None) -> None:
        try:
            told = operation()
        except ValueError as error:
            logger.info("refused: %s", one_line(str(error)))
            self.say(f"⚠ {error}", client, "yellow")
        except Exception as error:  # a full disk, a run that cannot be written to: who clicked sees no terminal
            text = f"{type(error).__name__}: {error}"
            logger.exception("failed: %s", one_line(text))
            self.say(f"⚠ {text}", client, "red")
        else:
            if told is None:
                return
            logger.info("%s", one_line(str(told)))
            if isinstance(told, Outcome):
                self.text = str(told)  # what is selected stands in the picture's bar
            else:
                self.say(str(told), client)

    @contextmanager
    def _in_progress(self, client: viser.ClientHandle | None) -> Iterator[None]:
        """What takes longer than a second says so until it is done."""
        shown: list[Any] = []

        def show() -> None:
            shown.extend(
                browser.add_notification("Click-Gaussian", "Working ...", loading=True, with_close_button=False)
                for browser in self._browsers(client)
            )

        timer = threading.Timer(_LONG_S, show)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # one that is just showing it
            for notification in shown:
                notification.remove()

    def _browsers(self, client: viser.ClientHandle | None) -> list[viser.ClientHandle]:
        return [client] if client is not None else list(self._server.get_clients().values())

    def on(self, operation: Callable[[], object]) -> Callable[[viser.GuiEvent], None]:
        """A callback for a button, or for an input that a user (not the program) changed."""

        def callback(event: viser.GuiEvent) -> None:
            if event.client is not None:
                self.run(operation, event.client)

        return callback


def plain(text: str) -> str:
    """Text that markdown shows as it is, at a length that fits the panel."""
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~$" else c for c in one_line(text))


def one_line(text: str) -> str:
    """Text of any origin, short and without line breaks."""
    shown = text if len(text) <= 400 else text[:397] + "..."
    return " ".join(shown.splitlines())
