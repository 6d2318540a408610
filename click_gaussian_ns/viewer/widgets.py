"""What the parts of the panel share: running an operation, and telling the user how it went."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import viser

from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer.host import Host

logger = logging.getLogger(__name__)

LOG_FILE = "click_tool.log"
"""In the run's folder: every operation, with its time."""
VISER_SCALE = 10.0
"""nerfstudio shows the scene ten times as large in viser."""


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
    """One line in the panel about the last operation."""

    def __init__(self, server: viser.ViserServer, refresh: Callable[[], object]) -> None:
        """`refresh` is called after every operation, whether it went well or not, and may have something to tell."""
        self._line = server.gui.add_markdown("")
        self._refresh = refresh
        self.text = ""
        self.count = 0
        """Operations done so far."""

    def say(self, text: str) -> None:
        self.text = text
        self._line.content = plain(text)

    def tell(self, text: str) -> None:
        """Say it, and log it."""
        logger.info("%s", one_line(text))
        self.say(text)

    def run(self, operation: Callable[[], object]) -> None:
        """Do it and show what it returns, or what is wrong with what was asked, or what went wrong."""
        self._guarded(operation)
        self._guarded(self._refresh)
        self.count += 1

    def _guarded(self, operation: Callable[[], object]) -> None:
        try:
            told = operation()
        except ValueError as error:
            logger.info("refused: %s", one_line(str(error)))
            self.say(f"⚠ {error}")
        except Exception as error:  # a full disk, a run that cannot be written to: who clicked sees no terminal
            text = f"{type(error).__name__}: {error}"
            logger.exception("failed: %s", one_line(text))
            self.say(f"⚠ {text}")
        else:
            if told is not None:
                self.tell(str(told))

    def on(self, operation: Callable[[], object]) -> Callable[[viser.GuiEvent], None]:
        """A callback for a button, or for an input that a user (not the program) changed."""

        def callback(event: viser.GuiEvent) -> None:
            if event.client is not None:
                self.run(operation)

        return callback


def plain(text: str) -> str:
    """Text that markdown shows as it is, at a length that fits the panel."""
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~$" else c for c in one_line(text))


def one_line(text: str) -> str:
    """Text of any origin, short and without line breaks."""
    shown = text if len(text) <= 400 else text[:397] + "..."
    return " ".join(shown.splitlines())
