"""The page in a browser: figures, controls, and that no name in a study can run a script."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from arch.errors import InputError
from arch.space import make_arch
from explore.report.page import write_page
from explore.report.predictions import load_predictions
from explore.report.study_folder import read_summary, with_references
from explore.report.study_report import refresh
from explore.report.summarise import summarise
from explore.report.tables import FRONT, TRIALS, read_table, write_tables
from quantize.bundle import annotate, load
from quantize.certificate import Certificate, Check
from quantize.recipes import recipe
from tests.helpers import ROOT, mostly_slow
from tests.helpers.browser import launched
from tests.helpers.networks import write_bundle
from tests.helpers.studies import ACCURATE, MIDDLE, REFERENCE, MadeFile, write_compared_study, write_study

FIRST_PLOT_MS = 60_000  # 2,000 on an idle machine; tests share theirs
TIMEOUT_S = 20
HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=2</script>",
    '"><svg onload=window.hacked=3>',
    "{{ 7*7 }}${7*7}",
    "<a href='javascript:window.hacked=4'>x</a>",
    "=cmd|' /C calc'!A0",
    "paper-<b onmouseover=window.hacked=5>L</b>",
)
CERTIFICATE = Certificate(
    deviations={"float file to file": {"mean": 3.21, "p95": 9.0, "max": 30.0, "joint_mean": [1.0]}},
    operators={"CONV_2D int8": 40}, int8_share=0.995, delegated=1.0, partitions=1, transposes=0, bytes=1, float_bytes=4,
    steps_mm={"stem": 2.5, "head": 0.1},
    checks=(
        Check(name="no transpose between convolutions", target="0", measured=0, passed=True, fix=""),
        Check(name="size", target="<b>at most</b> 0.3", measured=0.4, passed=False, fix="take fewer"),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as chromium:
        yield chromium


class Visit:
    """A page opened from disk. Errors on it and network requests are recorded; `leave` checks that there were none."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(
            **({"viewport": {"width": 1400, "height": 1000}, "reduced_motion": "reduce"} | context)
        )
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self._logged(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._requested(request.url))
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def _logged(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def _requested(self, url: str) -> None:
        if not url.startswith(("data:", "blob:", "file:")):
            self.faults.append(f"requested {url}")

    def names(self) -> list[str]:
        """Return the first column of the table."""
        return list(self.page.eval_on_selector_all("#table tbody tr", "rows => rows.map(r => r.cells[0].textContent)"))

    def cells(self, key: str) -> list[str]:
        """Return a column of the table by its key."""
        return list(
            self.page.eval_on_selector_all(
                f"#table td[data-key={json.dumps(key)}]", "all => all.map(cell => cell.textContent)"
            )
        )

    def settle(self) -> None:
        """Wait until the last change is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Poll until the condition holds. The page's security policy forbids conditions that the browser evaluates."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, "timeout"
            self.page.wait_for_timeout(50)

    def wait_for_card(self, name: str) -> None:
        self.wait_for(lambda: self.page.locator("#card h3").all_inner_texts() == [name])

    def place_of(self, name: str, kind: str) -> tuple[float, float]:
        """Return the position of a point of the plot, px of the window."""
        self.page.evaluate("scrollTo(0, 0)")
        found = self.page.evaluate(
            """([name, kind]) => {
              const plot = document.getElementById("plot"), box = plot.getBoundingClientRect(), full = plot._fullLayout;
              for (const [curve, rows] of plotted.entries())
                for (const [point, row] of rows.entries())
                  if (values.name[row] === name && values.kind[row] === kind) {
                    const data = plot.data[curve];
                    return [box.x + full.xaxis._offset + full.xaxis.d2p(data.x[point]),
                            box.y + full.yaxis._offset + full.yaxis.d2p(data.y[point])];
                  }
            }""",
            [name, kind],
        )
        return float(found[0]), float(found[1])

    def leave(self) -> None:
        self.context.close()
        assert self.faults == []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference study with a second runtime, a reference of the user's, and a certificate with a failed check."""
    folder = tmp_path_factory.mktemp("page") / "reference"
    shutil.copytree(REFERENCE, folder)
    annotate(load(folder / "bundles" / MIDDLE / "litert"), certificate=CERTIFICATE.model_dump(mode="json"))
    summary = read_summary(folder)
    litert = tuple(row for row in summary.exported if row.runtime == "litert")
    summary = replace(summary, exported=litert + tuple(replace(row, runtime="openvino", bundle="") for row in litert))
    write_tables(summary)
    write_page(with_references(summary, ["mine:150:0.3"]))
    return folder


def test_figures_are_those_of_the_tables(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    exported = [row for row in read_table(study / FRONT) if row["runtime"] == "litert"]
    names = visit.names()
    assert len(names) == len(exported) + len(read_table(study / TRIALS)) + 1  # one reference of the user's
    best = min(exported, key=lambda row: float(row["mpjpe_mm"]))
    assert names[0] == best["name"]
    cells = visit.page.eval_on_selector("#table tbody tr", "row => [...row.cells].map(cell => cell.textContent)")
    assert f"{float(best['mpjpe_mm']):.1f}" in cells and f"{float(best['latency_ms']):.3f}" in cells
    assert visit.page.locator("#plot .points path").count() == len(names) + 1  # and the mark of the chosen one
    assert "mine" in visit.page.locator("#plot").inner_text()
    visit.leave()


def test_the_first_view_names_axes_headers_and_a_choice(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    plot = page.locator("#plot").inner_text()
    assert "latency ms (log scale, lower is better)" in plot and "MPJPE mm (linear scale, lower is better)" in plot
    exported = [row for row in read_table(study / FRONT) if row["runtime"] == "litert"]
    own = [row for row in exported if "@" not in row["name"]]
    visit.wait_for_card(min(own, key=lambda row: float(row["mpjpe_mm"]))["name"])
    headers = page.eval_on_selector_all("#table th", "all => all.map(th => [th.textContent, th.firstChild.title])")
    assert {"part", "MPJPE mm", "latency ms", "size MB", "front", "failed checks"} <= {header for header, _ in headers}
    assert all(tooltip for _, tooltip in headers)
    shown = [row for row in [*exported, *read_table(study / TRIALS)] if row["on_front"] == "True"]
    assert visit.cells("front").count("yes, not tested") == len(shown), "a study of version 0.1"
    assert set(visit.cells("part")) == {"test", ""}, "version 0.1 evaluated candidates on the test part, too"
    assert "Intervals of errors are not available" in page.locator("#table-note").inner_text()
    assert set(visit.cells("checks_failed")) == {"", "none", "one delegate partition"}
    page.locator("#table tbody tr").last.scroll_into_view_if_needed()
    page.locator("#table tbody tr").last.click()
    visit.wait_for(lambda: 0 <= page.locator("#card").bounding_box()["y"] < 200)
    visit.leave()


@pytest.mark.parametrize("live", mostly_slow([True, False], True))
def test_a_study_without_results_says_so(browser: Any, tmp_path: Path, live: bool) -> None:
    folder = write_study(tmp_path / "s", 0)
    write_page(read_summary(folder), live=live)
    visit = Visit(browser, folder / "index.html")
    text = visit.page.locator("#empty").inner_text()
    assert ("are being trained" if live else "Run the search again") in text
    assert not visit.page.is_visible("#controls") and not visit.page.is_visible("#table")
    visit.leave()


def test_hover_and_click_show_the_network(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    page.mouse.move(*visit.place_of(ACCURATE, "exported"))
    page.wait_for_selector("#tip:visible")
    assert page.locator("#tip b").inner_text() == ACCURATE
    visit.wait_for_card(ACCURATE)
    page.mouse.move(5, 5)
    page.wait_for_selector("#tip", state="hidden")
    page.mouse.click(*visit.place_of(MIDDLE, "exported"))
    visit.wait_for_card(MIDDLE)
    stages = page.eval_on_selector_all("#card .stages tbody tr", "rows => rows.map(r => r.cells[0].textContent)")
    assert stages[0] == "stem" and stages[-1] == "head" and len(stages) > 6
    command = page.locator("#card .command").inner_text()
    assert "explore.py train" in command and "--init-from" in command
    fields = json.loads(command.split("echo '")[1].split("' > ")[0])
    arch = load(study / "bundles" / MIDDLE / "litert").arch
    assert make_arch(fields) == arch
    card = page.locator("#card").inner_text()
    for text in ("Certificate", "no transpose between", "fail", "<b>at most</b> 0.3", "mean 3.21 mm", "stem 2.50 mm"):
        assert text in card
    assert page.locator("#table tr.chosen td").first.inner_text() == MIDDLE
    page.reload()  # the choice is in the address
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#card h3").inner_text() == MIDDLE
    visit.leave()


def test_predictions_are_drawn_and_rotate(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    page.locator("#table tbody tr", has_text=ACCURATE).first.click()
    page.wait_for_selector(".people button")
    predictions = load_predictions(study).predictions[f"bundles/{ACCURATE}/litert"]
    captions = page.eval_on_selector_all(".people button", "all => all.map(button => button.textContent)")
    assert captions == [f"{prediction.error_mm:.0f} mm" for prediction in predictions]
    page.locator(".people button").nth(3).click()
    assert f"error {predictions[3].error_mm:.1f} mm" in page.locator(".views figcaption").first.inner_text()
    before = page.evaluate("document.querySelector('.views canvas').toDataURL()")
    canvas = page.locator(".views canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 70, steps=4)
    page.mouse.up()
    rotated = page.evaluate("document.querySelector('.views canvas').toDataURL()")
    assert rotated != before
    canvas.press("ArrowLeft")
    assert page.evaluate("document.querySelector('.views canvas').toDataURL()") != rotated
    visit.leave()


@pytest.mark.slow
def test_a_network_is_chosen_also_where_every_file_failed_a_check(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    chosen = "values.name[lowestError()]"
    assert visit.page.evaluate(f"rows.forEach((row) => (values.checks_failed[row] = 'size')), {chosen}") == ACCURATE
    visit.leave()


def test_filters_picks_and_axes(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    exported = [row for row in read_table(study / FRONT) if row["runtime"] == "litert"]
    page.fill("#below-ms", "0.2")
    page.click("#smallest")
    wanted = min((r for r in exported if float(r["latency_ms"]) <= 0.2), key=lambda r: int(r["bytes"]))
    visit.wait_for_card(wanted["name"])
    page.fill("#below-mb", "2")
    page.click("#accurate")
    wanted = min((r for r in exported if int(r["bytes"]) <= 2e6), key=lambda r: float(r["mpjpe_mm"]))
    visit.wait_for_card(wanted["name"])
    page.fill("#below-ms", "0.001")
    page.click("#smallest")
    assert "no shown file" in page.locator("#count").inner_text()

    everything = len(visit.names())
    page.locator("#limit-latency_ms").fill("100")  # of 200 steps between fastest and slowest, even in the logarithm
    visit.settle()
    limit = page.evaluate("limitAt('latency_ms', 100)")
    latencies = [float(r["latency_ms"]) for r in exported + read_table(study / TRIALS)] + [0.3]
    assert len(visit.names()) == sum(value <= limit for value in latencies) < everything
    page.uncheck("#kind-candidate")
    page.uncheck("#kind-baselineCandidate")
    visit.settle()
    assert set(visit.names()) <= {row["name"] for row in exported} | {"mine"}
    page.fill("#text", "mobilenet_v4 relu6")
    visit.settle()
    assert visit.names() and all("mobilenet_v4" in r["network"] for r in exported if r["name"] in visit.names())
    page.click("#reset")
    visit.settle()
    assert len(visit.names()) == everything
    page.select_option("#runtime", "openvino")
    visit.settle()
    assert sorted(visit.names()) == sorted([row["name"] for row in exported] + ["mine"])
    page.select_option("#runtime", "")
    visit.settle()
    assert {"litert", "openvino"} <= set(visit.cells("runtime"))

    page.select_option("#x", "bytes")
    page.select_option("#y", "memory")
    visit.settle()
    assert "size MB (log scale, lower is better)" in page.locator("#plot").inner_text()
    assert "peak memory MB (log scale, lower is better)" in page.locator("#plot").inner_text()
    visit.leave()


def test_the_table_sorts_and_downloads(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    page.click('#table th[data-key="macs"] button')
    values = [float(text) for text in visit.cells("macs") if text]
    assert values == sorted(values) and len(values) > 20
    page.click('#table th[data-key="macs"] button')
    assert page.locator('#table th[data-key="macs"]').get_attribute("aria-sort") == "descending"
    page.fill("#text", "paper-XS")
    visit.settle()
    with page.expect_download() as waiting:
        page.click("#csv")
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    assert {"part", "MPJPE mm", "MPJPE low mm", "latency ms", "MACs M", "front", "failed checks"} <= rows[0].keys()
    assert {row["name"] for row in rows} == {"paper-XS-relu@64"} and {row["kind"] for row in rows} == {
        "candidate",
        "exported",
    }
    visit.leave()


@pytest.mark.parametrize("look", mostly_slow(["light", "dark"], "light"))
def test_light_dark_and_print(browser: Any, study: Path, look: str) -> None:
    visit = Visit(browser, study / "index.html", color_scheme=look)
    page = visit.page
    light = "rgb(255, 255, 255)"
    ground = "getComputedStyle(document.body).backgroundColor"
    assert (page.evaluate(ground) == light) == (look == "light")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(ground) == light and not page.is_visible("#controls") and page.is_visible("#plot")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.click("#theme")
    assert (page.evaluate(ground) == light) == (look == "dark")
    visit.leave()


def test_a_phone_cuts_nothing_off(browser: Any, study: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    visit = Visit(browser, study / "index.html", **phone)
    page = visit.page
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    page.locator("#table tbody tr", has_text=ACCURATE).first.tap()
    page.wait_for_selector(".people button")
    for part in ("#plot", "#card", "#progress", "#importances"):
        box = page.locator(part).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, part
    visit.leave()


@pytest.mark.slow
def test_five_thousand_networks(browser: Any, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "big", 5000)
    write_page(read_summary(folder))
    assert (folder / "index.html").stat().st_size < 4e6
    visit = Visit(browser, folder / "index.html")
    page = visit.page
    first = int(page.evaluate("document.documentElement.dataset.firstPlot"))
    print(f"first plot of 5,000 after {first} ms")
    assert first < FIRST_PLOT_MS
    assert page.locator("#plot .points path").count() == 5000 + 1  # and the mark of the chosen one
    page.locator("#limit-latency_ms").fill("60")
    visit.wait_for(lambda: page.locator("#plot .points path").count() < 4000)
    assert len(visit.names()) == 60 and page.is_visible("#more")
    page.click("#more")
    assert len(visit.names()) > 600
    page.locator("#table tbody tr").nth(7).click()
    page.wait_for_selector("#card .stages")
    visit.leave()


def test_no_name_runs_a_script(browser: Any, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", 12, names=dict(enumerate(HOSTILE, 5)))
    folder = folder.rename(tmp_path / "<b onclick=window.hacked=6>s")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"] = "x'; touch hacked; <script>window.hacked=7</script>"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_page(with_references(read_summary(folder), ["<img src=x onerror=window.hacked=8>:150:0.3"]))
    visit = Visit(browser, folder / "index.html")
    page = visit.page
    assert set(HOSTILE) <= set(visit.names())
    for name in HOSTILE:
        page.mouse.move(*visit.place_of(name, "candidate"))
        visit.wait_for(lambda name=name: page.locator("#tip b").all_text_contents() == [name])  # type: ignore[misc]
        page.locator("#table tbody tr").nth(visit.names().index(name)).click()
        visit.wait_for_card(name)
    assert "'x'\"'\"'; touch hacked;" in page.locator("#card .command").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("#card img, #table img, #plot a, #plot img, main script").count() == 0
    with page.expect_download() as waiting:
        page.click("#csv")
    assert "'=cmd|" in Path(waiting.value.path()).read_text()
    visit.leave()


@pytest.mark.parametrize("width", mostly_slow([1280, 390], 1280))
def test_intervals_parts_and_comparisons(browser: Any, tmp_path: Path, width: int) -> None:
    files = (
        MadeFile("fast", 160.0, 0.10), MadeFile("middle", 140.0, 0.30), MadeFile("same", 139.9, 0.40, noise=8.0),
        MadeFile("paper-XS-relu", 150.0, 0.60), MadeFile("broken", 120.0, 1.50, checks_failed=("accuracy drop",)),
    )  # fmt: skip
    config, records, evaluators = write_compared_study(tmp_path / "s", files)
    summary = summarise(config, records, None, {}, evaluators)
    write_page(summary)
    visit = Visit(browser, config.folder / "index.html", viewport={"width": width, "height": 1000})
    page = visit.page
    visit.wait_for_card("same")  # broken has a lower error, but failed its checks
    row = next(row for row in summary.exported if row.name == "same")
    card = page.locator("#card").inner_text()
    for text in (f"139.9 mm ({row.mpjpe_low_mm:.1f} to {row.mpjpe_high_mm:.1f})", "95% over 200 frames", "test part"):
        assert text in card
    comparisons = page.eval_on_selector_all(
        "#card .paired tbody tr",
        "rows => Object.fromEntries(rows.map(r => [r.cells[1].textContent, r.cells[0].textContent]))",
    )
    assert comparisons == {
        "fast": "more accurate", "middle": "indistinguishable", "paper-XS-relu": "more accurate", "broken": "less accurate",
    }  # fmt: skip
    assert row.mpjpe_text in visit.cells("mpjpe_mm") and set(visit.cells("part")) == {"validation", "test"}
    assert "yes, indistinguishable from middle" in visit.cells("front")
    assert "candidates (validation part)" in page.locator("#kinds").inner_text()
    assert "takes" in page.locator("#comparison").inner_text() or "as fast" in page.locator("#comparison").inner_text()
    assert "validation: 100 frames" in page.locator("#table-note").inner_text()
    assert page.locator("#plot .errorbars path").count() > 0
    page.fill("#below-mb", "2")
    page.click("#accurate")
    visit.wait_for_card("same")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    visit.leave()


@pytest.mark.slow
def test_latency_on_remote_devices(browser: Any, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", 12, device="<b>web</b>")
    write_page(read_summary(folder))
    visit = Visit(browser, folder / "index.html")
    visit.page.select_option("#x", "latency_ms <b>web</b>")
    visit.settle()
    assert "latency on <b>web</b> ms (log scale, lower is better)" in visit.page.locator("#plot").inner_text()
    visit.page.click('#table th[data-key="latency_ms <b>web</b>"] button')
    assert visit.cells("latency_ms <b>web</b>") == [f"{number}.000" for number in range(1, 13)]
    visit.leave()


@pytest.mark.slow
def test_a_bare_copy_still_has_a_page(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("trials.csv", "config.yaml"):
        shutil.copy(REFERENCE / name, folder / name)
    summary = read_summary(folder)
    write_page(summary)
    assert len(summary.complete) == 20 and not summary.exported and len(summary.notes) == 3
    visit = Visit(browser, folder / "index.html")
    assert len(visit.names()) == 20
    assert "page/study.json" in visit.page.locator("#notes").inner_text()
    visit.leave()
    (folder / "config.yaml").write_text("data: synthetic:easy\nof_another_version: 1\n")
    assert "of_another_version: unknown key" in refresh(folder).notes[0]
    (folder / "config.yaml").unlink()
    write_page(read_summary(folder), live=True)
    visit = Visit(browser, folder / "index.html")
    assert "this page reloads" in visit.page.locator("#live").inner_text()
    visit.page.click("#pause")
    assert "Reload the page" in visit.page.locator("#live").inner_text()
    visit.leave()


def test_the_command(study: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from explore.cli import main; status = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; raise SystemExit(status)"
    )
    page = tmp_path / "page.html"
    bundle = str(REFERENCE / "bundles" / MIDDLE / "litert")
    call = [sys.executable, "-c", script, "report", str(study), "--out", str(page), "--reference", bundle, "--json"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["page"] == str(page) and answer["bytes"] == page.stat().st_size < 4e6
    assert answer["rows"] == len(read_table(study / FRONT)) + len(read_table(study / TRIALS)) + 1


def test_a_reference_has_the_memory_of_its_recipe(study: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    made = [write_bundle(tmp_path / n, tmp_path / "model.onnx", recipe=recipe(n)) for n in ("float", "int8-static")]
    full, small = with_references(read_summary(study), [str(one.path) for one in made]).references
    assert full.memory == 4 * small.memory


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mine:1", "is not a bundle"),
        ("mine:a:b", "must be numbers"),
        ("mine:-1:2", "above 0"),
        ("mine:1:inf", "above 0"),
    ],
)
def test_wrong_references(study: Path, reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        with_references(read_summary(study), [reference])
    assert "reference: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trials.csv", "trial,state,mpjpe_mm\n0,complete,fast\n", "'fast' is not a number"),
        ("page/study.json", "{", "page/study.json"),
        ("page/study.json", '{"networks": {"x": {"width": -1}}}', "width"),
        ("page/people.json", "[]", "page/people.json"),
        ("environment.json", "[1]", "environment.json"),
        ("config.yaml", "a: [", "config.yaml"),
    ],
)
def test_broken_files_are_named(study: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(study, folder)
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_summary(folder)
    assert "\n" not in str(caught.value)


def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no trials\.csv"):
        read_summary(tmp_path)
