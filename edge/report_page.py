"""A session as HTML: its styles and pictures are inside, and nothing runs."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from bundle.labels import STATE_OF_EMOTION
from edge.session_log import SessionLog, Span

COLOURS = {
    "calm": "#009e73", "joyful": "#f0e442", "startled": "#cc79a7", "agitated": "#d55e00", "low": "#56b4e9",
    "unknown": "#d4d9df", "other": "#d4d9df",
}  # fmt: skip
"""Okabe and Ito's, which people with any colour vision can tell apart."""

SOURCE_COLOURS = {"audio+video": "#37474f", "video": "#78909c", "audio": "#b0bec5", "none": "#ffffff"}
LOAD_COLOURS = {"normal": "#b0bec5", "reduced rate": "#78909c", "int8": "#546e7a", "one modality": "#37474f"}
WORDS = {"audio+video": "face and voice", "video": "face alone", "audio": "voice alone", "none": "nothing"}
WIDTH, LEFT, RIGHT, LANE = 1100, 110, 24, 30
COLUMNS = WIDTH - LEFT - RIGHT
LISTED = 50

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 1140px; margin: 32px auto;
  padding: 0 20px; font-variant-numeric: tabular-nums; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 36px 0 8px; }
p { margin: 4px 0; } .dim { color: #5b6775; }
svg { width: 100%; height: auto; display: block; } svg text { font: 13px system-ui, sans-serif; fill: #5b6775; }
table { border-collapse: collapse; } .two { display: grid; gap: 0 40px; } .two table { width: 100%; }
@media (min-width: 800px) { .two { grid-template-columns: 1fr 1fr; } }
th { text-align: left; font-weight: 500; color: #5b6775; } td, th { padding: 4px 20px 4px 0;
  border-bottom: 1px solid #e4e8ed; vertical-align: top; } .n { text-align: right; }
.n, td:first-child { white-space: nowrap; }
.bar { width: 40%; }
.bar span { display: block; height: 12px; margin-top: 5px; min-width: 1px; outline: 1px solid #0002; }
"""


def page_of(session: SessionLog) -> str:
    """The whole page."""
    cut_off = "<p><b>The last line was cut off and is left out: the run did not end in order.</b></p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(session.name)}</title><style>{STYLE}</style></head><body>
<h1>{escape(session.name)}</h1>
<p class="dim">{_clock(session.length_s)} long, {len(session.times_s)} messages;
{escape(f"{session.bundle} on {session.engine}")};
dropped {session.dropped_images} images, {session.dropped_audio_s:.1f} s of sound, {session.dropped_updates} updates</p>
{cut_off if session.cut_off else ""}
<h2>Time line</h2>
{_time_line(session)}
<div class="two"><div><h2>States</h2>{_shares(session.states, tuple(COLOURS), COLOURS, session.length_s)}</div>
<div><h2>What they rest on</h2>{_shares(session.sources, tuple(WORDS), SOURCE_COLOURS, session.length_s)}</div></div>
{_load(session)}
<h2>Outages of a second or longer</h2>
{_outages(session.outages)}
<h2>Delay</h2>
{_delays(session)}
</body></html>
"""


def _time_line(session: SessionLog) -> str:
    """States, emotions, sources and delays over the same axis."""
    lanes = [_band(session.states, session.length_s, COLOURS, 0, "state")]
    for i, label in enumerate(session.labels):
        colour = COLOURS[STATE_OF_EMOTION.get(label, "unknown")]
        lanes.append(_curve(session, session.probabilities[:, i], 1.0, (i + 1) * LANE, label, colour))
    top = (len(session.labels) + 1) * LANE
    lanes.append(_band(session.sources, session.length_s, SOURCE_COLOURS, top, "rests on"))
    known = session.ages_ms[np.isfinite(session.ages_ms)]
    most_ms = float(known.max(initial=0.0)) or 1.0
    lanes.append(_curve(session, session.ages_ms, most_ms, top + LANE, f"delay to {most_ms:.0f} ms", "#37474f"))
    bottom = top + 2 * LANE
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom + 24}" role="img">{"".join(lanes)}{_axis(session.length_s, bottom)}</svg>'
    )


def _band(spans: Iterable[Span], length_s: float, colours: dict[str, str], y: int, name: str) -> str:
    parts = [f'<text x="0" y="{y + 18}">{name}</text>']
    for span in spans:
        x, width = LEFT + COLUMNS * span.start_s / length_s, COLUMNS * span.length_s / length_s
        told = f"{_clock(span.start_s)} {WORDS.get(span.value, span.value)}, {span.length_s:.1f} s: {span.reason}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y + 2}" width="{max(width, 0.3):.1f}" height="{LANE - 8}" '
            f'fill="{colours.get(span.value, "#000")}"><title>{escape(told)}</title></rect>'
        )
    return "".join(parts)


def _curve(session: SessionLog, values: npt.NDArray[np.floating], most: float, y: int, name: str, colour: str) -> str:
    """The largest value in each column of pixels, from a base line upwards; nothing where nothing is known."""
    column = np.minimum((session.times_s / session.length_s * COLUMNS).astype(int), COLUMNS - 1)
    last = np.minimum(((session.times_s + 0.2) / session.length_s * COLUMNS).astype(int), COLUMNS - 1)
    heights = np.zeros(COLUMNS)
    for begin, end, value in zip(column, last, np.nan_to_num(values / most), strict=True):
        heights[begin : end + 1] = np.maximum(heights[begin : end + 1], value)
    base = y + LANE - 6
    edges = np.flatnonzero(np.diff(heights, prepend=np.nan))  # equal neighbours make one step
    path = "".join(
        f"V{base - (LANE - 8) * heights[i]:.1f}H{LEFT + end}"
        for i, end in zip(edges, [*edges[1:], COLUMNS], strict=True)
    )
    return (
        f'<text x="0" y="{y + 18}">{escape(name)}</text>'
        f'<path d="M{LEFT} {base}{path}V{base}Z" fill="{colour}" stroke="#0003" stroke-width=".5"/>'
    )


def _axis(length_s: float, y: int) -> str:
    steps_s = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
    step_s = next((step for step in steps_s if length_s / step <= 11), 86_400)
    marks = []
    for at_s in range(0, int(length_s) + 1, step_s):
        x = LEFT + COLUMNS * at_s / length_s
        marks.append(f'<path d="M{x:.1f} 0V{y}" stroke="#0001"/>')
        marks.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{_clock(at_s)}</text>')
    return "".join(marks)


def _shares(spans: Sequence[Span], order: Sequence[str], colours: dict[str, str], length_s: float) -> str:
    rows = []
    for value in order:
        own = [span.length_s for span in spans if span.value == value]
        if own:
            bar = f'<span style="width:{sum(own) / length_s:.1%};background:{colours[value]}"></span>'
            rows.append(
                (
                    WORDS.get(value, value),
                    f"{sum(own) / length_s:.1%}",
                    f"{sum(own):.1f} s",
                    f"{max(own):.1f} s",
                    len(own),
                    bar,
                )
            )
    return _table(("", "share", "time", "longest", "times", ""), rows, numbers={1, 2, 3, 4}, bar=5)


def _load(session: SessionLog) -> str:
    """What was given up under load; nothing where nothing was."""
    if {span.value for span in session.loads} == {"normal"}:
        return ""
    return "<h2>Under load</h2>" + _shares(session.loads, tuple(LOAD_COLOURS), LOAD_COLOURS, session.length_s)


def _outages(outages: Sequence[Span]) -> str:
    if not outages:
        return "<p>None.</p>"
    longest = sorted(sorted(outages, key=lambda span: -span.length_s)[:LISTED], key=lambda span: span.start_s)
    rows = [(_clock(span.start_s), f"{span.length_s:.1f} s", span.value, span.reason) for span in longest]
    more = f"<p>The longest {LISTED} of {len(outages)}.</p>" if len(outages) > LISTED else ""
    return _table(("at", "for", "what", "why"), rows, numbers={1}) + more


def _delays(session: SessionLog) -> str:
    known = np.flatnonzero(np.isfinite(session.ages_ms))
    if not len(known):
        return "<p>No message had data to be late.</p>"
    ages = session.ages_ms[known]
    p50, p90, p99 = np.percentile(ages, (50, 90, 99))
    worst = known[np.argsort(-ages, kind="stable")[:10]]
    rows = [(_clock(session.times_s[i]), f"{session.ages_ms[i]:.0f} ms") for i in sorted(worst)]
    return (
        f"<p>From the capture of the newest sample to the message: median {p50:.0f}, p90 {p90:.0f}, p99 {p99:.0f}, "
        f"most {ages.max():.0f} ms. The {len(rows)} latest:</p>" + _table(("at", "delay"), rows, numbers={1})
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: set[int], bar: int | None = None) -> str:
    """Cells are escaped, but for the column `bar`."""

    def cell(tag: str, i: int, value: object) -> str:
        kind = ' class="n"' if i in numbers else ' class="bar"' if i == bar else ""
        return f"<{tag}{kind}>{value if i == bar else escape(str(value))}</{tag}>"

    lines = [("th", head), *(("td", row) for row in rows)]
    return "<table>" + "".join(
        f"<tr>{''.join(cell(tag, i, value) for i, value in enumerate(line))}</tr>" for tag, line in lines
    ) + "</table>"  # fmt: skip


def _clock(at_s: float) -> str:
    minutes, seconds = divmod(at_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{int(seconds):02}" if hours else f"{minutes}:{seconds:04.1f}"
