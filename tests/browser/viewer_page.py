"""A browser page with the viewer in it, driven as a user would, and what the server knows of it."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator

from click_gaussian_ns.method.pipeline import ClickGaussianPipeline
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.selection.pick import pick
from click_gaussian_ns.types import Click, Level, PinholeView, Selection
from click_gaussian_ns.viewer.book import ObjectBook
from click_gaussian_ns.viewer.session import Session

TIMEOUT_S = 120.0
"""Of one wait: on a busy machine a browser's frame takes many seconds."""
BAR_HEIGHT = 80
"""CSS px at the lower edge of the picture, where our bar is."""
EYE, TARGET = (0.0, -1.0, 0.9), (0.0, 0.0, 0.0)


def wait_until(condition: Callable[[], object], what: str) -> Any:
    """Poll until the condition holds; its value."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {TIMEOUT_S:.0f} s for {what}")


class ViewerPage:
    """One browser window."""

    def __init__(self, browser: Browser, pipeline: ClickGaussianPipeline, url: str) -> None:
        self.pipeline, self.control = pipeline, pipeline.click_control
        self.session: Session = self.control.panel.session
        self._prepared: PreparedView | None = None
        self._area: tuple[Any, dict[str, float]] | None = None
        known = set(self.control.viser_server.get_clients())
        self.page = browser.new_page(viewport={"width": 860, "height": 520})
        self.page.set_default_timeout(TIMEOUT_S * 1e3)
        self.page.goto(url, wait_until="commit")  # its logo is on the internet: "load" may never come
        self.page.get_by_text("Click-Gaussian", exact=True).wait_for()
        (self.client_id,) = wait_until(
            lambda: set(self.control.viser_server.get_clients()) - known, "the browser to connect"
        )
        for folder in ("Refine", "Edit", "Save and export"):
            self.hit(self.page.get_by_text(folder, exact=True))
        self.bar = self.page.get_by_role("toolbar", name="Click-Gaussian")
        self.bar.wait_for()
        self.look_from(EYE)

    @staticmethod
    def hit(element: Locator) -> None:
        """Click without waiting for the page to stand still: with software WebGL a frame can take a second."""
        element.evaluate("element => element.click()")

    @property
    def client(self) -> Any:
        return self.control.viser_server.get_clients()[self.client_id]

    @property
    def view(self) -> PinholeView:
        """As the server takes this window's camera."""
        return self.control.client_view(self.client)

    def look_from(self, eye: tuple[float, float, float]) -> None:
        camera = self.client.camera
        camera.position, camera.look_at = np.array(eye) * 10, np.array(TARGET) * 10
        self.settled()

    def settled(self) -> None:
        """Wait until the server has drawn this window's frame at rest."""
        machine = self.control.viewer.render_statemachines[self.client_id]
        wait_until(
            lambda: (machine.state == "high" and machine.next_action is None) or not machine.is_alive(),
            "the frame at rest",
        )
        assert machine.is_alive(), "the thread that draws this window has died"

    @property
    def area(self) -> dict[str, float]:
        """The canvas that clicks go to, CSS px. Asked of the browser once per window size: an answer takes a frame."""
        size = self.page.viewport_size
        if self._area is None or self._area[0] != size:
            box = self.page.locator("canvas[data-engine]").bounding_box()
            assert box is not None
            self._area = (size, dict(box))
        return self._area[1]

    def pixels(self) -> np.ndarray:
        png = self.page.screenshot(clip=self.area)  # pyright: ignore[reportArgumentType]
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def on_screen(self, x_px: float, y_px: float) -> tuple[float, float]:
        """A pixel of the server's view as a place in the picture of `pixels`."""
        view, area = self.view, self.area
        return x_px / view.width * area["width"], y_px / view.height * area["height"]

    def color_at(self, x_px: float, y_px: float) -> np.ndarray:
        return self._color(*self.on_screen(x_px, y_px))

    def color_in_window(self, place: tuple[float, float]) -> np.ndarray:
        return self._color(place[0] - self.area["x"], place[1] - self.area["y"])

    def _color(self, x: float, y: float) -> np.ndarray:
        return self.pixels()[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3).mean(axis=0)

    def click_pixel(self, x_px: float, y_px: float, held: str | None = None) -> None:
        """Click, perhaps with a key held, and wait until the server has dealt with it."""
        told = self.told_of
        x, y = self.on_screen(x_px, y_px)
        if held is not None:
            self.page.keyboard.down(held)
        self.page.mouse.click(math.floor(self.area["x"] + x), math.floor(self.area["y"] + y))
        if held is not None:
            self.page.keyboard.up(held)
        wait_until(lambda: self.told_of != told, "the click to be answered")

    def reported(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """Where in the view the browser says a click on that pixel was: it reports whole CSS pixels of the window.

        None where that is too near to a pixel's border to be sure of the pixel, or under the bar.
        """
        view, area = self.view, self.area
        x, y = self.on_screen(x_px, y_px)
        if y > area["height"] - BAR_HEIGHT:
            return None
        # viser takes the middle of the CSS pixel, over the canvas's rounded size
        x = (math.floor(area["x"] + x) - area["x"] + 0.5) / round(area["width"]) * view.width
        y = (math.floor(area["y"] + y) - area["y"] + 0.5) / round(area["height"]) * view.height
        return (x, y) if 0.3 < x % 1 < 0.7 and 0.3 < y % 1 < 0.7 else None

    def reported_nearby(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """`reported` of the nearest pixel where it is sure; None if the bar is there."""
        steps = sorted(((i, j) for i in range(-6, 7) for j in range(-6, 7)), key=lambda ij: ij[0] ** 2 + ij[1] ** 2)
        places = (self.reported(x_px + i, y_px + j) for i, j in steps)
        return next((place for place in places if place is not None), None)

    @property
    def told_of(self) -> int:
        return self.control.panel._feedback.count

    @property
    def message(self) -> str:
        return self.control.panel._feedback.text

    def press(self, name: str) -> None:
        """Press a button, and wait until the server has dealt with it."""
        told = self.told_of
        button = self.page.get_by_role("button", name=name, exact=True).first
        wait_until(button.is_enabled, f"{name} to be enabled")
        self.hit(button)
        wait_until(lambda: self.told_of != told, f"{name} to be answered")

    def choose(self, label: str, option: str) -> None:
        told = self.told_of
        self.field(label).click()
        self.hit(self.page.get_by_role("option", name=option, exact=True))
        wait_until(lambda: self.told_of != told, f"{label} to be answered")
        # until then viser's field would offer what its old text finds
        wait_until(lambda: self.field(label).input_value() == option, f"{label} to say {option}")

    def write(self, label: str, text: str) -> None:
        """Fill a name field, and wait until the server knows."""
        files = self.control.panel._files
        handle = {"Name": files._name, "File name": files._file_name}[label]
        self.field(label).fill(text)
        wait_until(lambda: handle.value == text, f"{label} to arrive")

    def field(self, label: str) -> Locator:
        # viser's text fields have no id that their label could name
        return self.page.locator(f"xpath=//label[normalize-space()='{label}']/following::input[1]")

    def reset(self) -> None:
        """Back to the beginning, without the browser."""
        session = self.session
        session.end_preview()
        self.control.panel._edit.show("none")
        while session.work.edits:
            session.undo()
        session.clear()
        session.change(book=ObjectBook())
        self.page.evaluate("document.activeElement?.blur()")  # else the key is typed into the field that has the focus
        self.page.keyboard.press("v")
        if self.field("Mode").input_value() != "set":
            self.choose("Mode", "set")
        if self.field("Level").input_value() != "coarse":
            self.choose("Level", "coarse")
        self.look_from(EYE)

    def headless(
        self, x_px: float, y_px: float, level: Level | None = None, negative: tuple[float, float] | None = None
    ) -> Selection:
        """What `click-gaussian segment` selects for this camera and pixel (and one negative pixel)."""
        model = self.pipeline.model
        clicks = [Click(x_px, y_px)] + ([] if negative is None else [Click(*negative, negative=True)])
        return pick(self.prepared(), model.click_features, level or self.session.level, model.clusters, clicks)

    def prepared(self) -> PreparedView:
        """This window's view of the unedited scene; kept while the camera stands still."""
        view, model = self.view, self.pipeline.model
        kept = self._prepared
        if kept is None or not torch.equal(kept.view.viewmat, view.viewmat) or kept.view.width != view.width:
            kept = self._prepared = rasterize.prepare(model.splats, view, model.rasterize_mode)
        return kept

    def key(self, *keys: str) -> None:
        """Press keys one after the other, each answered by the server."""
        for key in keys:
            told = self.told_of
            self.page.keyboard.press(key)
            wait_until(lambda told=told: self.told_of != told, f"{key} to be answered")

    def drag(self, low_px: tuple[float, float], high_px: tuple[float, float]) -> None:
        """Drag a rectangle, and wait until the server has dealt with it."""
        told = self.told_of
        left, top = self.area["x"], self.area["y"]
        (x0, y0), (x1, y1) = self.on_screen(*low_px), self.on_screen(*high_px)
        self.pull((left + x0, top + y0), (left + x1, top + y1))
        wait_until(lambda: self.told_of != told, "the rectangle to be answered")

    def pull(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the left button, from one place of the window to another."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=4)
        mouse.up()

    def covered(self, num: int, rng: np.random.Generator) -> list[tuple[float, float]]:
        """Random places (px of the view, as a click reports them) that show something."""
        rows, columns = np.nonzero(rasterize.render(self.prepared()).alpha[..., 0].numpy() > 0.5)
        places = (self.reported(columns[i] + 0.5, rows[i] + 0.5) for i in rng.permutation(rows.size)[: 40 * num])
        return [place for place in places if place is not None][:num]

    def clickable(self, num: int) -> list[tuple[int, float, float]]:
        """Objects (coarse clusters) whose projected centre shows them: cluster, x, y in px, the largest first."""
        model, view = self.pipeline.model, self.view
        labels, found = model.clusters["coarse"].labels, []
        for cluster, _ in self.session.objects():
            center = model.splats.means[labels == cluster].median(dim=0).values
            camera = view.viewmat[:3, :3].float() @ center + view.viewmat[:3, 3].float()
            x, y, z = (view.K.float() @ camera).tolist()
            if z <= 0 or not (10 < x / z < view.width - 10 and 10 < y / z < view.height - 10):
                continue
            try:
                hit = self.headless(x / z, y / z, model.levels[0]).cluster_ids
            except ValueError:
                continue
            if hit == (cluster,):
                place = self.reported_nearby(x / z, y / z)
                if place is not None:
                    found.append((cluster, *place))
        assert len(found) >= num, f"only {len(found)} objects show their centre"
        return found[:num]


def same_mask(session: Session, selection: Selection) -> bool:
    return torch.equal(session.selected(), selection.mask)
