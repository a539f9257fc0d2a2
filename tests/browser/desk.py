"""A reviewer's place: a window on the page, and the tables behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

from moderation.domain.review import Review, ReviewTask
from tests.waiting import GENEROUS_S
from tests.website import Website


@dataclass(frozen=True)
class Seat:
    """Somebody in front of a window."""

    website: Website
    address: str
    page: Page
    token: str

    def log_in(self) -> None:
        self.page.goto(self.address)
        self.page.get_by_label("Your token").fill(self.token)
        self.page.get_by_role("button", name="Log in").click()

    def sees(self, image_id: str) -> None:
        """Waits until this picture is up, and its bytes drawn."""
        expect(self.picture).to_have_attribute("alt", f"Picture to judge: {image_id}")
        expect(self.picture).not_to_have_js_property("naturalWidth", 0)
        expect(self.page.locator("#actions")).to_have_attribute("aria-busy", "false")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def waits_until(self, is_so: Callable[[], bool]) -> None:
        """Lets the page go on until the tables say so."""
        deadline = time.monotonic() + GENEROUS_S
        while not is_so():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(100)

    def stirs_until(self, is_so: Callable[[], bool]) -> None:
        """The same, with a hand on the mouse."""

        def moves() -> bool:
            self.page.mouse.move(time.monotonic() % 1 * 300, 200)
            return is_so()

        self.waits_until(moves)

    def held(self) -> int:
        """How many open tasks somebody holds."""
        return sum(each.claimed_by is not None for each in self.website.wiring.review_tasks.list())

    @property
    def picture(self) -> Locator:
        return self.page.locator("#picture")

    @property
    def notice(self) -> Locator:
        return self.page.get_by_role("alert")

    @property
    def strip(self) -> Locator:
        return self.page.get_by_role("status", name="Your last answer")

    def reviews(self) -> list[Review]:
        return self.website.wiring.reviews.list()

    def task(self, image_id: str) -> ReviewTask:
        (found,) = [each for each in self.website.wiring.review_tasks.list(state=None) if each.image_id == image_id]
        return found
