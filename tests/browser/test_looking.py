"""Looking closely: zoom, pan, grey, blur, help, narrow screens, the dashboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.desk import Seat

WIDTH = "document.getElementById('picture').getBoundingClientRect().width"
SCROLL = "document.getElementById('stage').scrollLeft"


def test_zoom_to_real_pixels_and_move_about(seat: Seat) -> None:
    (name,) = seat.website.add_pictures(1, size=(2600, 1700))
    seat.log_in()
    seat.sees(name)
    assert seat.page.evaluate(WIDTH) < 1000
    task = seat.task(name)
    with seat.page.expect_response(lambda answer: answer.url.endswith(f"/pictures/{task.task_id}/original")):
        seat.press("z")
    assert seat.page.evaluate(WIDTH) == 2600
    expect(seat.page.locator("#scale")).to_have_text("100 %")
    expect(seat.picture).to_have_js_property("naturalWidth", 2600)
    middle = seat.page.evaluate(SCROLL)
    seat.press("ArrowRight", "ArrowDown")
    assert seat.page.evaluate(SCROLL) > middle
    before = seat.page.evaluate(SCROLL)
    seat.page.mouse.move(400, 300)
    seat.page.mouse.down()
    seat.page.mouse.move(500, 300, steps=4)
    seat.page.mouse.up()
    assert seat.page.evaluate(SCROLL) == pytest.approx(before - 100, abs=2)
    seat.press("+")
    assert seat.page.evaluate(WIDTH) == 5200
    seat.press("z")
    assert seat.page.evaluate(WIDTH) < 1000
    seat.page.locator("#picture").click(position={"x": 100, "y": 100})
    assert seat.page.evaluate(WIDTH) == 2600


def test_grey_and_blur_stick(seat: Seat) -> None:
    first, second = seat.website.add_pictures(2)
    seat.log_in()
    seat.sees(first)
    seat.press("g", "h")
    for _ in range(2):
        for name in ("Grey", "Blur"):
            expect(seat.page.get_by_role("button", name=re.compile(name))).to_have_attribute("aria-pressed", "true")
        look = seat.picture.evaluate("(image) => getComputedStyle(image).filter")
        assert look.startswith("grayscale(1) blur(")
        seat.waits_until(lambda: seat.held() == 2)  # this one and the next: what is under way would be lost
        seat.page.reload()
        seat.sees(first)
    seat.press("g", "h", "r")
    seat.sees(second)
    assert seat.picture.evaluate("(image) => getComputedStyle(image).filter") == "none"


def test_keyboard_help(seat: Seat) -> None:
    (name,) = seat.website.add_pictures(1)
    seat.log_in()
    seat.sees(name)
    seat.press("?")
    box = seat.page.get_by_role("dialog", name="Keys")
    for words in ("real", "escalate to a senior", "take your last answer back", "real pixels", "grey", "blur"):
        expect(box).to_contain_text(words)
    seat.press("r", "f")  # no answers while it is open
    seat.press("?")
    expect(box).to_be_hidden()
    assert seat.reviews() == []
    seat.press("?")
    box.get_by_label("Single keys are on").uncheck()
    seat.press("Escape")
    expect(box).to_be_hidden()
    seat.press("r")
    seat.page.wait_for_timeout(300)
    assert seat.reviews() == []
    seat.page.get_by_role("button", name="Real", exact=False).first.click()
    expect(seat.strip).to_contain_text("You real")


def test_everything_is_reached_by_tab_in_the_order_of_use(seat: Seat) -> None:
    (name,) = seat.website.add_pictures(1)
    seat.log_in()
    seat.sees(name)
    reached = []
    for _ in range(24):
        seat.press("Tab")
        reached.append(seat.page.evaluate("document.activeElement.id || document.activeElement.innerText.trim()"))
    wanted = ["Skip to the content", "Review", "Dashboard", "Log out", "stage", "zoom", "grey", "blur", "help-open"]
    places = [reached.index(each) for each in [*wanted, "undo", "skip", "escalate", "note"]]
    assert places == sorted(places)
    page = seat.page
    for role in ("banner", "main", "navigation", "complementary"):
        expect(page.get_by_role(role)).to_have_count(1)
    for button in page.get_by_role("button").all():
        assert button.inner_text().strip()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_shows_all_without_scrolling_sideways(seat: Seat, browser: Browser, scheme: str) -> None:
    seat.website.add_pictures(3)
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]  # one of its Literals
        has_touch=True,
        is_mobile=True,
    )
    phone = Seat(seat.website, seat.address, context.new_page(), seat.token)
    phone.log_in()
    phone.sees("000.png")
    phone.page.get_by_role("button", name="Fake").tap()
    phone.sees("001.png")
    expect(phone.strip).to_contain_text("You fake")
    for name in ("Real", "Unsure", "Fake", "Undo", "Skip", "Escalate"):
        box = phone.page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 360
        assert box["y"] + box["height"] <= 740
        assert box["height"] >= 40
    for path in ("/review", "/dashboard", "/login"):
        phone.page.goto(seat.address + path)
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    background = phone.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) is (scheme == "dark")
    context.close()


def test_dashboard(seat: Seat) -> None:
    names = seat.website.add_pictures(4)
    seat.log_in()
    for name, key in zip(names, "rffr", strict=True):
        seat.sees(name)
        seat.press(key)
    expect(seat.page.locator("#progress")).to_contain_text("4 done")
    seat.page.get_by_role("link", name="Dashboard").click()
    charts = seat.page.locator("svg.chart")
    expect(charts).to_have_count(3)
    for chart in charts.all():
        box = chart.bounding_box()
        assert box is not None
        assert box["height"] > 100
    bars = seat.page.locator("rect.c-review").first
    assert bars.evaluate("(bar) => getComputedStyle(bar).fill") != "rgb(0, 0, 0)"
    expect(
        seat.page.get_by_role("region", name="Reviewers").get_by_role("row", name=re.compile("eve 4"))
    ).to_be_visible()
    days = seat.page.get_by_role("region", name="Decisions per day").first
    days.get_by_text("As a table").click()
    expect(days.get_by_role("table")).to_be_visible()
