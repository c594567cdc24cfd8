"""The page in a real browser: it shows what the study's files say, does what its controls say, and runs nobody's script."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from arch.errors import InputError
from arch.space import make_arch
from explore.report.gather import gather
from explore.report.page import write_page
from explore.report.refresh import refresh
from quantize.bundle import annotate, load
from quantize.certificate import Certificate, Gate
from tests.explore.report.studies import ACCURATE, MIDDLE, REFERENCE, ROOT, write_csv, write_study

FIRST_PLOT_MS = 10_000  # asked of an idle machine: 2,000; tests share theirs
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
    gates=(
        Gate(name="no transpose between convolutions", asked="0", measured=0, holds=True, fix=""),
        Gate(name="size", asked="<b>at most</b> 0.3", measured=0.4, holds=False, fix="take fewer"),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here (Debian: chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Visit:
    """A page from disk, and everything that must not happen on it."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1400, "height": 1000}} | context))
        self.page = self.context.new_page()
        self.bad: list[str] = []
        self.page.on("console", lambda said: self.bad.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.bad.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def _asked(self, url: str) -> None:
        if not url.startswith(("data:", "blob:", "file:")):
            self.bad.append(f"asked for {url}")

    def names(self) -> list[str]:
        """First column of the table, top down."""
        return list(self.page.eval_on_selector_all("#table tbody tr", "rows => rows.map(r => r.cells[0].textContent)"))

    def settle(self) -> None:
        """Until what was asked for is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")

    def place_of(self, name: str, kind: str) -> tuple[float, float]:
        """Where the plot has the point of that name and kind, px of the window."""
        self.page.evaluate("scrollTo(0, 0)")
        found = self.page.evaluate(
            """([name, kind]) => {
              const plot = document.getElementById("plot"), box = plot.getBoundingClientRect(), full = plot._fullLayout;
              for (const [curve, rows] of plotted.entries())
                for (const [point, row] of rows.entries())
                  if (columns.name[row] === name && columns.kind[row] === kind) {
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
        assert self.bad == []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference study with a reference of the user's, a second runtime, one of its bundles with a certificate."""
    folder = tmp_path_factory.mktemp("page") / "reference"
    shutil.copytree(REFERENCE, folder)
    front = rows_of(folder, "front.csv")
    others = [row | {"runtime": "openvino", "bundle": ""} for row in front]
    write_csv(folder / "front.csv", tuple(front[0]), front + others)
    annotate(load(folder / "bundles" / MIDDLE / "litert"), certificate=CERTIFICATE.model_dump(mode="json"))
    write_page(folder, references=["mine:150:0.3"])
    return folder


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / name).open()))


def test_it_shows_what_the_files_say(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    shipped = [row for row in rows_of(study, "front.csv") if row["runtime"] == "litert"]
    names = visit.names()
    assert len(names) == len(shipped) + len(rows_of(study, "trials.csv")) + 1  # one reference
    best = min(shipped, key=lambda row: float(row["mpjpe_mm"]))
    assert names[0] == best["name"]
    cells = visit.page.eval_on_selector("#table tbody tr", "row => [...row.cells].map(cell => cell.textContent)")
    assert f"{float(best['mpjpe_mm']):.1f}" in cells and f"{float(best['latency_ms']):.3f}" in cells
    assert visit.page.locator("#plot .points path").count() == len(names)
    assert "mine" in visit.page.locator("#plot").inner_text()
    visit.leave()


def test_hover_and_click_show_the_network(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    page.mouse.move(*visit.place_of(ACCURATE, "shipped"))
    page.wait_for_selector("#tip:visible")
    assert page.locator("#tip b").inner_text() == ACCURATE
    page.wait_for_function(f"document.getElementById('card').dataset.name === '{ACCURATE}'")
    page.mouse.move(5, 5)
    page.wait_for_selector("#tip", state="hidden")
    page.mouse.click(*visit.place_of(MIDDLE, "shipped"))
    page.wait_for_function(f"document.querySelector('#card h3').textContent === '{MIDDLE}'")
    stages = page.eval_on_selector_all("#card .stages tbody tr", "rows => rows.map(r => r.cells[0].textContent)")
    assert stages[0] == "stem" and stages[-1] == "head" and len(stages) > 6
    command = page.locator("#card .command").inner_text()
    assert "explore.py train" in command and "--start" in command
    fields = json.loads(command.split("echo '")[1].split("' > ")[0])
    arch = load(study / "bundles" / MIDDLE / "litert").arch
    assert make_arch(fields) == arch
    card = page.locator("#card").inner_text()
    for said in (
        "Certificate",
        "no transpose between",
        "falls short",
        "<b>at most</b> 0.3",
        "mean 3.21 mm",
        "stem 2.50 mm",
    ):
        assert said in card
    assert page.locator("#table tr.chosen td").first.inner_text() == MIDDLE
    page.reload()  # what was asked for is in the address
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#card h3").inner_text() == MIDDLE
    visit.leave()


def test_people_are_drawn_and_turn(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    page.locator("#table tbody tr", has_text=ACCURATE).first.click()
    page.wait_for_selector(".people button")
    kept = json.loads((study / "page" / "people.json").read_text())
    answers = kept["answers"][f"bundles/{ACCURATE}/litert"]
    said = page.eval_on_selector_all(".people button", "all => all.map(button => button.textContent)")
    assert said == [f"{round(answer['error_mm'])} mm" for answer in answers]
    page.locator(".people button").nth(3).click()
    assert f"{answers[3]['error_mm']:.1f} mm off" in page.locator(".rooms figcaption").first.inner_text()
    before = page.evaluate("document.querySelector('.rooms canvas').toDataURL()")
    room = page.locator(".rooms canvas").first
    room.scroll_into_view_if_needed()
    box = room.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 70, steps=4)
    page.mouse.up()
    turned = page.evaluate("document.querySelector('.rooms canvas').toDataURL()")
    assert turned != before
    room.press("ArrowLeft")
    assert page.evaluate("document.querySelector('.rooms canvas').toDataURL()") != turned
    visit.leave()


def test_filters_questions_and_axes(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    shipped = [row for row in rows_of(study, "front.csv") if row["runtime"] == "litert"]
    page.fill("#under-ms", "0.2")
    page.click("#smallest")
    wanted = min((r for r in shipped if float(r["latency_ms"]) <= 0.2), key=lambda r: int(r["bytes"]))
    assert page.locator("#card h3").inner_text() == wanted["name"]
    page.fill("#under-mb", "2")
    page.click("#accurate")
    wanted = min((r for r in shipped if int(r["bytes"]) <= 2e6), key=lambda r: float(r["mpjpe_mm"]))
    page.wait_for_function("name => document.querySelector('#card h3').textContent === name", arg=wanted["name"])
    page.fill("#under-ms", "0.001")
    page.click("#smallest")
    assert "no file" in page.locator("#count").inner_text()

    everything = len(visit.names())
    page.locator("#limit-latency_ms").fill("100")  # of 200 steps between fastest and slowest, even in the logarithm
    visit.settle()
    limit = page.evaluate("limitAt('latency_ms', 100)")
    latencies = [float(r["latency_ms"]) for r in shipped + rows_of(study, "trials.csv")] + [0.3]
    assert len(visit.names()) == sum(value <= limit for value in latencies) < everything
    page.uncheck("#kind-candidate")
    page.uncheck("#kind-paperCandidate")
    visit.settle()
    assert set(visit.names()) <= {row["name"] for row in shipped} | {"mine"}
    page.fill("#text", "mobilenet_v4 relu6")
    visit.settle()
    assert visit.names() and all("mobilenet_v4" in r["network"] for r in shipped if r["name"] in visit.names())
    page.click("#reset")
    visit.settle()
    assert len(visit.names()) == everything
    page.select_option("#runtime", "openvino")
    visit.settle()
    assert "openvino" in page.locator("#table tbody").inner_text()

    page.select_option("#x", "bytes")
    page.select_option("#y", "memory")
    visit.settle()
    assert "size of the file" in page.locator("#plot").inner_text()
    assert "peak activation memory" in page.locator("#plot").inner_text()
    visit.leave()


def test_the_table_sorts_and_downloads(browser: Any, study: Path) -> None:
    visit = Visit(browser, study / "index.html")
    page = visit.page
    page.click('#table th[data-key="macs"] button')
    values = [
        float(x) for x in page.eval_on_selector_all("#table tbody tr", "r => r.map(x => x.cells[8].textContent)") if x
    ]
    assert values == sorted(values) and len(values) > 20
    page.click('#table th[data-key="macs"] button')
    assert page.locator('#table th[data-key="macs"]').get_attribute("aria-sort") == "descending"
    page.fill("#text", "paper-XS")
    visit.settle()
    with page.expect_download() as waiting:
        page.click("#csv")
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    assert {row["name"] for row in rows} == {"paper-XS-relu@64"} and {row["kind"] for row in rows} == {
        "candidate",
        "shipped",
    }
    visit.leave()


@pytest.mark.parametrize("look", ["light", "dark"])
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


def test_a_phone(browser: Any, study: Path) -> None:
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


def test_five_thousand_networks(browser: Any, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "big", 5000)
    write_page(folder)
    assert (folder / "index.html").stat().st_size < 4e6
    visit = Visit(browser, folder / "index.html")
    page = visit.page
    first = int(page.evaluate("document.documentElement.dataset.firstPlot"))
    print(f"first plot of 5,000 after {first} ms")
    assert first < FIRST_PLOT_MS
    assert page.locator("#plot .points path").count() == 5000
    page.locator("#limit-latency_ms").fill("60")
    page.wait_for_function("document.querySelectorAll('#plot .points path').length < 4000", timeout=FIRST_PLOT_MS)
    assert len(visit.names()) == 60 and page.is_visible("#more")
    page.click("#more")
    assert len(visit.names()) > 600
    page.locator("#table tbody tr").nth(7).click()
    page.wait_for_selector("#card .stages")
    visit.leave()


def test_no_name_runs_a_script(browser: Any, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "<b onclick=window.hacked=6>s", 12, names=dict(enumerate(HOSTILE, 5)))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"] = "x'; touch hacked; <script>window.hacked=7</script>"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_page(folder, references=["<img src=x onerror=window.hacked=8>:150:0.3"])
    visit = Visit(browser, folder / "index.html")
    page = visit.page
    assert set(HOSTILE) <= set(visit.names())
    for name in HOSTILE:
        page.mouse.move(*visit.place_of(name, "candidate"))
        page.wait_for_function("name => document.querySelector('#tip b')?.textContent === name", arg=name)
        page.locator("#table tbody tr").nth(visit.names().index(name)).click()
        page.wait_for_function("name => document.querySelector('#card h3').textContent === name", arg=name)
    assert "'x'\"'\"'; touch hacked;" in page.locator("#card .command").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("#card img, #table img, #plot a, #plot img, main script").count() == 0
    with page.expect_download() as waiting:
        page.click("#csv")
    assert "'=cmd|" in Path(waiting.value.path()).read_text()
    visit.leave()


def test_latency_on_further_devices(browser: Any, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", 12)
    lines = (folder / "trials.csv").read_text().splitlines()
    lines = [f"{line},{'latency_ms <b>web</b>' if number == 0 else number}" for number, line in enumerate(lines)]
    (folder / "trials.csv").write_text("\n".join(lines))
    write_page(folder)
    visit = Visit(browser, folder / "index.html")
    visit.page.select_option("#x", "latency_ms <b>web</b>")
    visit.settle()
    assert "latency on <b>web</b>, ms" in visit.page.locator("#plot").inner_text()
    visit.page.click('#table th[data-key="latency_ms <b>web</b>"] button')
    cells = visit.page.eval_on_selector_all("#table tbody tr", "rows => rows.map(row => row.cells[7].textContent)")
    assert cells == [f"{number}.000" for number in range(1, 13)]
    visit.leave()


def test_a_bare_copy_still_has_a_page(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("trials.csv", "config.yaml"):
        shutil.copy(REFERENCE / name, folder / name)
    found = write_page(folder)
    assert {row.kind for row in found.rows} == {"candidate"} and len(found.notes) == 3
    visit = Visit(browser, folder / "index.html")
    assert len(visit.names()) == 20
    assert "page/study.json" in visit.page.locator("#notes").inner_text()
    visit.leave()
    (folder / "config.yaml").write_text("data: synthetic:easy\nof_another_version: 1\n")
    assert "of_another_version: unknown key" in refresh(folder)[0]
    (folder / "config.yaml").unlink()
    assert len(write_page(folder, live=True).rows) == 20
    visit = Visit(browser, folder / "index.html")
    assert "loads itself again" in visit.page.locator("#live").inner_text()
    visit.page.click("#pause")
    assert "load the page again" in visit.page.locator("#live").inner_text()
    visit.leave()


def test_the_command(study: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from explore.cli import main; status = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; raise SystemExit(status)"
    )
    made = tmp_path / "page.html"
    bundle = str(REFERENCE / "bundles" / MIDDLE / "litert")
    call = [sys.executable, "-c", script, "report", str(study), "--out", str(made), "--reference", bundle, "--json"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["page"] == str(made) and told["bytes"] == made.stat().st_size < 4e6
    assert told["rows"] == len(rows_of(study, "front.csv")) + len(rows_of(study, "trials.csv")) + 1


@pytest.mark.parametrize(
    ("reference", "said"),
    [("mine:1", "is no bundle"), ("mine:a:b", "must be numbers"), ("mine:-1:2", "above 0"), ("mine:1:inf", "above 0")],
)
def test_wrong_references(study: Path, reference: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        gather(study, [reference])
    assert "reference: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("trials.csv", "trial,state,mpjpe_mm\n0,complete,fast\n", "'fast' is no number"),
        ("page/study.json", "{", "page/study.json"),
        ("page/study.json", '{"networks": {"x": {"width": -1}}}', "width"),
        ("page/people.json", "[]", "page/people.json"),
        ("environment.json", "[1]", "environment.json"),
        ("config.yaml", "a: [", "config.yaml"),
    ],
)
def test_broken_files_are_named(study: Path, tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(study, folder)
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        gather(folder)
    assert "\n" not in str(caught.value)


def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no trials\.csv"):
        gather(tmp_path)
