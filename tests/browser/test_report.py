"""The report as a reader meets it, in a real browser without a network."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkout import snakemake
from pipeline_lib.artifacts.files import write_table
from pipeline_lib.claims.artefacts import claims_made_with
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.verdict import VERDICTS, claims_table, finding
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium and chromedriver are not installed (Debian: chromium, chromium-driver)",
)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PAGES = ("claims", "scalar_degrees", "polynomial_degrees", "efficiency")
FIGURES = ("fig1a", "fig2a", "heavy_tails")
STYLESHEET = "workflow/report/report.css"  # as the Makefile has it
NO_NETWORK = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def checkout(smoke_study, tmp_path_factory, data_dir) -> Path:
    """The smoke study with the pages, and with a report of them and a few figures in both forms."""
    folder = tmp_path_factory.mktemp("report") / "checkout"
    shutil.copytree(smoke_study, folder, symlinks=True)

    def run(*arguments: str) -> None:
        done = snakemake(folder, *arguments, "--config", "scale=smoke", data=data_dir)
        assert done.returncode == 0, done.stdout + done.stderr

    # Its ledger has too few kinds of verdict; here every claim has one of them.
    write_table(folder / "results/smoke/claims.parquet", ledger(), "claims", ledgers_origin(folder))
    pages = tuple(f"{page}_page" for page in PAGES)
    run(*pages)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, NO_NETWORK)
        for form in ("html", "zip"):
            made = ("--report", f"report.{form}", "--report-stylesheet", STYLESHEET)
            run(*FIGURES, *pages, *made)
    with zipfile.ZipFile(folder / "report.zip") as archive:
        archive.extractall(folder / "unpacked")
    return folder


def ledgers_origin(folder: Path) -> dict[str, Any]:
    """What the ledger of that checkout is made with."""
    raw = yaml.safe_load((folder / "config.yaml").read_text())
    return claims_made_with(load_study(raw | {"scale": "smoke"}, MODELS))


def ledger() -> Any:
    """Every claim of the catalogue with made-up evidence."""
    findings = []
    for place, claim in enumerate(CLAIMS.values()):
        exact = place % 2 == 0
        findings.append(
            finding(
                claim,
                VERDICTS[place % len(VERDICTS)],
                f"Compared with T7 in {place} <places> & a word-of-{'very-' * 12}great-length.",
                exact=exact,
                n_comparisons=10**place % 10**6,
                p_value=None if exact else 10.0 ** -(place * 10),
                scale_needed=None if exact else "paper: 1,000 runs",
                artefact="variance/teacher_student.parquet",
            )
        )
    return claims_table(findings)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def resize(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_page(browser: Any, path: Path, width: int = 1280) -> None:
    resize(browser, width)
    # The report's links add a # to its address; without the detour the page would stay as it is.
    browser.get("about:blank")
    browser.get(path.as_uri())


def open_category(browser: Any, path: Path, category: str, n_rows: int) -> None:
    """Open the page and one category of its menu, which lists ``n_rows`` results.

    The page draws its menu before its landing text, and a click between the two can be lost: it is
    made again, as a reader would, at first soon.
    """
    count = "return document.querySelectorAll('nav tbody tr').length"
    for patience in (5, 20, 80, 320):
        open_page(browser, path)
        wait(browser, "return document.querySelector('#app .prose')?.innerText")
        click(browser, category)
        try:
            wait(browser, f"{count} === {n_rows}", patience)
        except TimeoutException:
            continue
        return
    raise AssertionError(f"{category}: {browser.execute_script(count)} rows, expected {n_rows}")


def severe(browser: Any) -> list[str]:
    return [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]


def wait(browser: Any, script: str, seconds: float = 300) -> Any:
    """The first truthy value of a script; a busy machine may be slow."""
    return WebDriverWait(browser, seconds).until(lambda _: browser.execute_script(script), script)


def click(browser: Any, label: str) -> None:
    """Click an entry of the menu, also while the page still moves beneath it."""
    entry = f"""return [...document.querySelectorAll("nav li a")]
        .find((one) => one.textContent.trim() === {label!r})"""
    browser.execute_script("arguments[0].click()", wait(browser, entry))


def shot(browser: Any, folder: Path, name: str) -> None:
    """A picture to look at; CI keeps the folder named by SCREENSHOTS."""
    target = Path(os.environ.get("SCREENSHOTS", folder))
    target.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(target / f"{name}.png"))


REPORTS = ("report.html", "unpacked/report/report.html")


@pytest.mark.parametrize("report", REPORTS)
def test_report_opens_and_shows_all_of_its_results(checkout, browser, report, tmp_path):
    open_page(browser, checkout / report)
    landing = wait(browser, "return document.querySelector('#app .prose')?.innerText")
    assert "2004.13146" in landing
    assert "Scale: smoke" in landing
    assert "Commit: unknown" in landing  # the copy is no git checkout
    form = report.replace("/", "_")
    shot(browser, tmp_path, f"{form}_landing")
    listed = browser.execute_script(
        "return [...document.querySelectorAll('nav li a')].map((one) => one.textContent.trim())"
    )
    categories = browser.execute_script("return categories")
    assert listed[-len(categories) :] == [
        "1 Linear regression",
        "2 Two-layer linear network",
        "5 Claims",
        "6 Exact theory",
    ]
    seen = set()
    for category, parts in categories.items():
        n_rows = len({Path(path).stem for part in parts.values() for path in part})
        open_category(browser, checkout / report, category, n_rows)
        for row in range(n_rows):
            before = browser.execute_script("return app.state.resultPath")
            browser.execute_script(
                "const rows = document.querySelectorAll('nav tbody tr');"
                "rows[arguments[0]].querySelector('a').click()",
                row,
            )
            wait(
                browser,
                "const one = document.querySelector('#app img:not(nav img), iframe');"
                "return one && (one.tagName === 'IFRAME' || one.naturalWidth > 0)",
            )
            path = wait(
                browser,
                f"const path = app.state.resultPath; return path !== {json.dumps(before)} && path",
            )
            name = Path(path).stem
            shot(browser, tmp_path, f"{form}_{name}")
            if path.endswith(".html"):
                browser.switch_to.frame(0)
                assert wait(browser, "return document.querySelectorAll('tbody tr').length > 2")
                assert wait(browser, "return document.querySelector('#count').textContent")
                browser.switch_to.default_content()
            seen.add(name)
    assert seen == {"fig1a", "fig2a", "heavy_tails", *PAGES}
    assert severe(browser) == []


@pytest.mark.parametrize("report", REPORTS)
def test_every_image_has_pixels_and_every_result_a_caption(checkout, browser, report):
    open_page(browser, checkout / report)
    results = wait(browser, "return typeof results === 'object' && results")
    assert len(results) == 2 * len(FIGURES) + len(PAGES)
    for path, result in results.items():
        assert len(result["caption"]) > 100, path
        assert "{{" not in result["caption"], path
    widths = browser.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const images = Object.entries(results)
          .filter(([, one]) => one.mime_type.startsWith("image/"));
        Promise.all(images.map(async ([path, one]) => {
          const image = new Image();
          image.src = one.data_uri;
          await image.decode().catch(() => 0);
          return [path, image.naturalWidth];
        })).then(done);"""
    )
    assert len(widths) == 2 * len(FIGURES)
    assert all(width > 100 for _, width in widths), widths


def test_report_on_a_narrow_screen_has_the_menu_above_the_content(checkout, browser, tmp_path):
    open_page(browser, checkout / "report.html", 400)
    wait(browser, "return document.querySelector('#app .prose')")
    shot(browser, tmp_path, "report_400")
    below, given, needed = browser.execute_script(
        "const page = document.documentElement;"
        "const box = (selector) => document.querySelector(selector).getBoundingClientRect();"
        "return [box('#app .prose').top - box('nav').bottom, page.clientWidth, page.scrollWidth]"
    )
    assert below >= 0
    assert needed <= given


def test_report_asks_for_nothing_from_a_network(checkout, browser):
    open_page(browser, checkout / "report.html")
    wait(browser, "return document.querySelector('nav li a')")
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map((one) => one.name)"
    )
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []


@pytest.fixture
def shown(checkout, browser):
    """The claims page, and the identifiers that it shows at the moment."""
    open_page(browser, checkout / "results/smoke/pages/claims.html")
    return lambda: browser.execute_script(
        "return [...document.querySelectorAll('tbody tr')]"
        ".filter((row) => row.offsetHeight).map((row) => row.cells[0].innerText.trim())"
    )


def test_search_of_the_ledger(browser, shown):
    search = browser.find_element("css selector", "input[type=search]")
    everything = shown()
    assert everything == list(CLAIMS)
    search.send_keys("T7")
    assert shown() == ["T7"]  # although the evidence of every claim names it
    assert browser.find_element("id", "count").text == f"1 of {len(everything)} rows"
    search.clear()
    search.send_keys("t1")
    assert shown() == ["T1"]  # not T10
    search.send_keys("0")
    assert shown() == ["T10"]
    search.clear()
    search.send_keys("wick quadrature")
    assert shown() == ["T6"]
    search.send_keys(" nowhere")
    assert shown() == []
    assert severe(browser) == []


def test_verdicts_filter_and_headings_sort_the_ledger(browser, shown):
    everything = shown()
    browser.find_element("css selector", "button[data-facet=refuted]").click()
    assert shown() == everything[1 :: len(VERDICTS)]
    browser.find_element("css selector", "button[data-facet='']").click()
    browser.find_elements("css selector", "th button")[0].click()
    assert shown() == everything
    browser.find_elements("css selector", "th button")[0].click()
    assert shown() == everything[::-1]
    heading = browser.find_elements("css selector", "th")[0]
    assert heading.get_attribute("aria-sort") == "descending"
    browser.find_elements("css selector", "th button")[4].click()
    smallest_p = [name for place, name in enumerate(everything) if place % 2][::-1]
    assert shown()[: len(smallest_p)] == smallest_p
    assert severe(browser) == []


@pytest.mark.parametrize("width", [1280, 960, 400])
@pytest.mark.parametrize("page", PAGES)
def test_pages_are_no_wider_than_the_window(checkout, browser, page, width, tmp_path):
    open_page(browser, checkout / f"results/smoke/pages/{page}.html", width)
    shot(browser, tmp_path, f"{page}_{width}")
    needed, given = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert needed <= given
    assert severe(browser) == []
