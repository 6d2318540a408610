"""nerfstudio's viewer on a trained demo scene, in this process, and chromium to look at it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import STEPS
from playwright.sync_api import Browser, sync_playwright
from viewer_page import TIMEOUT_S, ViewerPage, wait_until

from click_gaussian_ns.method.pipeline import ClickGaussianPipeline
from click_gaussian_ns.runs.open_run import open_run

CHROMIUM_ARGS = [
    *("--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def trained_config(request: pytest.FixtureRequest) -> Path:
    """config.yml of a run on the bundled scene: that of the end-to-end tests, or $CLICK_GAUSSIAN_BROWSER_RUN."""
    given = os.environ.get("CLICK_GAUSSIAN_BROWSER_RUN")
    return Path(given) if given else request.getfixturevalue("trained")


@pytest.fixture(scope="session")
def viewer(trained_config: Path) -> Iterator[tuple[ClickGaussianPipeline, str]]:
    """The pipeline that `ns-viewer` serves, and the address."""
    from nerfstudio.scripts.viewer.run_viewer import _start_viewer

    run = open_run(trained_config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        run.config.viewer.websocket_port = probe.getsockname()[1]
    run.config.viewer.websocket_host = "127.0.0.1"
    run.config.vis = "viewer"
    threading.Thread(target=_start_viewer, args=(run.config, run.pipeline, STEPS), daemon=True).start()
    wait_until(lambda: run.pipeline.click_control.panel is not None, "the viewer to start")
    yield run.pipeline, f"http://127.0.0.1:{run.config.viewer.websocket_port}"
    served = run.pipeline.click_control.viewer
    machines = list(served.render_statemachines.values())
    for machine in machines:
        machine.running = False
    for machine in machines:  # a thread that draws while the interpreter shuts down aborts it
        machine.join(timeout=TIMEOUT_S)
    served.viser_server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "these tests need chromium: apt-get install chromium, or set $CHROMIUM"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, headless=False, args=CHROMIUM_ARGS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def opened(browser: Browser, viewer: tuple[ClickGaussianPipeline, str]) -> ViewerPage:
    return ViewerPage(browser, *viewer)


@pytest.fixture
def page(opened: ViewerPage) -> ViewerPage:
    """The one browser page, with nothing selected and nothing edited."""
    opened.reset()
    return opened
