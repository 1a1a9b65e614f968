"""The page in a real browser: all that it shows is drawn and plays, in light and dark, on a phone and by keyboard."""

import shutil
import time

import pytest

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
PATIENCE_S = 60.0

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium with chromedriver here: apt-get install chromium chromium-driver"
)

COLOURS = """
    const [canvas] = arguments, {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size"""
"""How many different colours a canvas has."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium with a profile of its own."""
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield driver
    driver.quit()


def open_page(browser, page, *, width=1280, height=900, **features):
    """Loads it at a size in CSS pixels and with such wishes of the reader, and waits until all is there."""
    size = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600}
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.file.as_uri())
    until(browser, "return [...document.querySelectorAll('canvas')].every((canvas) => canvas.cloud)")
    until(browser, "return [...document.querySelectorAll('audio, video')].every((one) => one.readyState >= 1)")


def until(browser, question):
    """Waits for a script to say yes."""
    end = time.monotonic() + PATIENCE_S
    while not browser.execute_script(question):
        assert time.monotonic() < end, question
        time.sleep(0.05)


def all_of(browser, selector):
    return browser.execute_script("return [...document.querySelectorAll(arguments[0])]", selector)


def test_everything_is_there(browser, page):
    """Sounds and films have a duration, canvases and pictures are drawn, and the console has no error."""
    open_page(browser, page)
    lengths = browser.execute_script(
        "return [...document.querySelectorAll('audio, video')].map((one) => [one.readyState, one.duration])"
    )
    assert len(lengths) == 4
    assert all(ready >= 1 and 0 < duration < 60 for ready, duration in lengths)
    canvases = all_of(browser, "canvas")
    assert len(canvases) == 3
    assert all(browser.execute_script(COLOURS, canvas) > 50 for canvas in canvases)
    pictures = browser.execute_script(
        "return Promise.all([...document.images].map((one) => one.decode().then(() => one.naturalWidth)))"
    )
    assert len(pictures) == 4
    assert all(width > 100 for width in pictures)
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_nothing_is_fetched(browser, page):
    """Neither while it loads nor later does it ask for anything but itself."""
    open_page(browser, page)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in asked if not name.startswith("data:")] == []


@pytest.mark.parametrize("width", [360, 768])
@pytest.mark.parametrize("prefers_color_scheme", ["light", "dark"])
def test_on_a_phone(browser, page, width, prefers_color_scheme):
    """Nothing reaches over the edge; text stands out from its ground."""
    open_page(browser, page, width=width, height=740, prefers_color_scheme=prefers_color_scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    text, ground = (
        browser.execute_script(f"return getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)")
        for name in ("color", "backgroundColor")
    )
    assert contrast(text[:3], ground[:3]) > 7
    assert (sum(ground[:3]) > sum(text[:3])) == (prefers_color_scheme == "light")


def contrast(one, other):
    """Of two colours, 1 to 21 (WCAG 2.2)."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_cloud_turns(browser, page):
    """By keys and by the mouse; the page does not scroll meanwhile."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page, prefers_reduced_motion="reduce")
    canvas = all_of(browser, "canvas")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", canvas)
    place = browser.execute_script("return scrollY")
    looks = [look(browser, canvas)]
    for keys in (Keys.ARROW_LEFT, Keys.ARROW_UP, "+"):
        canvas.send_keys(keys)
        looks.append(look(browser, canvas))
    ActionChains(browser).drag_and_drop_by_offset(canvas, 40, 10).perform()
    looks.append(look(browser, canvas))
    assert len(set(looks)) == len(looks)
    assert browser.execute_script("return scrollY") == place


def look(browser, canvas):
    return browser.execute_script("return arguments[0].toDataURL()", canvas)


def test_every_control_is_reached_by_keyboard(browser, page):
    """The tab key comes past links, texts, canvases, players and buttons, and one sees where it is."""
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page, prefers_reduced_motion="reduce")
    outlines = {}
    for _ in range(120):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        told = browser.execute_script(
            "const one = document.activeElement; return [one.tagName, getComputedStyle(one).outlineStyle]"
        )
        if told[0] == "BODY":
            break
        outlines.setdefault(told[0], set()).add(told[1])
    players = {"AUDIO", "VIDEO"}  # the browser's own controls are in them, with outlines of their own
    assert {"A", "PRE", "CANVAS", "BUTTON", "INPUT", "SUMMARY", *players} <= outlines.keys()
    assert all(outlines[name] == {"solid"} for name in outlines.keys() - players)


def test_motions_and_films_play_when_seen(browser, page):
    """In sight they play, out of it they rest; who does not like motion starts them by hand."""
    playing = "return [arguments[0].cloud ? arguments[0].cloud.playing : !arguments[0].paused]"
    open_page(browser, page, prefers_reduced_motion="no-preference")
    motion, film = all_of(browser, "#model-motion canvas")[0], all_of(browser, "video")[0]
    for one in (motion, film):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", one)
        wait_for(browser, playing, one, True)
        browser.execute_script("scrollTo(0, 0)")
        wait_for(browser, playing, one, False)
    open_page(browser, page, prefers_reduced_motion="reduce")
    motion = all_of(browser, "#model-motion canvas")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", motion)
    time.sleep(0.3)
    assert browser.execute_script(playing, motion) == [False]
    first = look(browser, motion)
    browser.execute_script("arguments[0].cloud.button.click()", motion)
    wait_for(browser, playing, motion, True)
    wait_for(browser, "return [arguments[0].cloud.frame > 0]", motion, True)
    assert look(browser, motion) != first


def wait_for(browser, question, one, answer):
    end = time.monotonic() + PATIENCE_S
    while browser.execute_script(question, one) != [answer]:
        assert time.monotonic() < end, (question, answer)
        time.sleep(0.05)


def test_a_command_is_copied(browser, page):
    """The button says so."""
    open_page(browser, page)
    button = all_of(browser, ".command button")[0]
    browser.execute_script("arguments[0].click()", button)
    end = time.monotonic() + PATIENCE_S
    while button.text != "copied":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_without_webgl(browser, page, tmp_path):
    """Where a browser has none, clouds are drawn all the same."""
    text = page.text.replace('"webgl2"', '"none"')
    assert text != page.text
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    open_page(browser, page._replace(file=file))
    assert all(browser.execute_script(COLOURS, canvas) > 10 for canvas in all_of(browser, "canvas"))
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
