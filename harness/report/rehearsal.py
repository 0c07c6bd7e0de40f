"""A rehearsal's page, from ``rehearsal.json``: the whole rollout on one line of time, then every gate's table."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.errors import RecordError
from harness.report.templating import environment, source
from harness.timeline.jsonl import read_json

FILE = "rehearsal.json"
_WORDS = {"GO": "PASS", "NO-GO": "FAIL", "HOLD": "INCONCLUSIVE"}  # the colours of verdicts
_ORDER = {"NO-GO": 0, "HOLD": 1, "GO": 2}
_WIDTH, _LEFT, _ROW, _TOP, _MARK = 1140.0, 110.0, 34.0, 34.0, 140.0
_COLOURS = {"soak": "second", "load": "first", "drills": "drill", "gate": "gate"}


def write_rehearsal_report(session: Path) -> Path:
    """Write ``report.html`` beside ``rehearsal.json``. Raises :class:`RecordError` where there is none."""
    walk = read_json(session / FILE)
    if not isinstance(walk, dict) or walk.get("schema") != 1:
        raise RecordError("is no rehearsal this harness reads", where=str(session / FILE))
    path = session / "report.html"
    scratch = path.with_name(f".report.html.{os.getpid()}.tmp")
    try:
        scratch.write_text(rehearsal_html(walk, session.name), encoding="utf-8", errors="replace")
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write the report: {error.strerror}", where=str(path)) from error
    return path


def rehearsal_html(walk: dict[str, Any], name: str) -> str:
    """The page as text; deterministic."""
    steps = [_step(step) for step in walk["steps"]]
    css = Markup(source("report.css") + source("rehearsal.css"))
    return (
        environment()
        .get_template("rehearsal.html.j2")
        .render(
            css=css,
            session=name,
            plan=walk["plan"],
            word=_word(walk),
            colour=_WORDS[_worst(walk)],
            sentence=_sentence(walk),
            scale=f"{walk['time_scale']:,.0f}",
            injected=walk["injected"],
            override=walk["override_hold"],
            naming=_naming(walk),
            timeline=Markup(_timeline(walk)),
            steps=steps,
            facts=[
                ("seed", hex(int(walk["seed"]))),
                ("target", walk["target"]),
                ("took", f"{walk['took_s']:.0f} s"),
                ("again", f"harness rollout rehearse --plan {walk['plan']} --time-scale {walk['time_scale']:g}"),
            ],
        )
    )


def _worst(walk: dict[str, Any]) -> str:
    """The worst of the gates: a walk past holds is not a green one."""
    decisions = {step["decision"] for step in walk["steps"]}
    return next((word for word in ("NO-GO", "HOLD") if word in decisions), "GO")


def _word(walk: dict[str, Any]) -> str:
    held = any(step["decision"] == "HOLD" for step in walk["steps"])
    return {
        0: "Walked to the end, past HOLDs" if held else "Walked to the end",
        1: "Stopped: NO-GO",
        4: "Stopped: HOLD",
    }[int(walk["exit_code"])]


def _sentence(walk: dict[str, Any]) -> str:
    counts = {word: sum(s["decision"] == word for s in walk["steps"]) for word in ("GO", "HOLD", "NO-GO")}
    told = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    over = sum(bool(s["overridden"]) and s["phase"] != walk["stopped_at"] for s in walk["steps"])
    past = f" {over} HOLD {'was' if over == 1 else 'were'} walked past by --override-hold." if over else ""
    where = f" It stopped at phase {walk['stopped_at']}." if walk["stopped_at"] else " Nothing failed."
    return f"{len(walk['steps'])} gates in {walk['took_s']:.0f} s: {told}.{where}{past}"


def _naming(walk: dict[str, Any]) -> list[str]:
    if not walk["stopped_at"]:
        return []
    answers = walk["steps"][-1]["gate"]["answers"]
    wanted = "NO-GO" if any(a["decision"] == "NO-GO" and not a["advisory"] for a in answers) else "HOLD"
    found = [a for a in answers if a["decision"] == wanted and not a["advisory"]]
    told = [f"{a['id']}: {a['criterion']}: {a['reason'] or a['shown']['measured']}" for a in found[:10]]
    return told + ([f"and {len(found) - 10} more"] if len(found) > 10 else [])


def _place(answer: dict[str, Any]) -> tuple[bool, int, bool]:
    """What failed first, then what holds with a figure, then what nothing was said of."""
    return answer["advisory"], _ORDER[answer["decision"]], answer["shown"]["measured"] == "–"


def _step(step: dict[str, Any]) -> dict[str, Any]:
    answers = sorted(step["gate"]["answers"], key=_place)
    rows = [
        {
            "decision": a["decision"],
            "colour": _WORDS[a["decision"]],
            "advisory": a["advisory"],
            "id": a["id"].partition(".")[2],
            "text": a["criterion"],
            "measured": a["shown"]["measured"],
            "interval": a["shown"]["interval"],
            "threshold": a["threshold"],
            "source": re.sub(r" \[[^]]*\]$", "", a["source"]),
            "unsaid": a["kind"] == "checklist" and a["decision"] == "HOLD",
            "reason": a["reason"] if a["decision"] != "GO" else "",
            "needed": "; ".join(dict.fromkeys(r["needed"] for r in a["readings"] if r["needed"])),
        }
        for a in answers
    ]
    counted = [a for a in answers if not a["advisory"]]
    return {
        "phase": step["phase"],
        "decision": step["decision"],
        "colour": _WORDS[step["decision"]],
        "overridden": step["overridden"],
        "trouble": step["trouble"],
        "counts": ", ".join(
            f"{sum(a['decision'] == w for a in counted)} {w}" for w in ("GO", "HOLD", "NO-GO") if counted
        ),
        "parts": ", ".join(f"{p['name']} {p['to_s'] - p['from_s']:.0f} s" for p in step["parts"]),
        "open": [r for r in rows if (r["decision"] != "GO" or r["advisory"]) and not r["unsaid"]],
        "unsaid": [r for r in rows if r["unsaid"]],
        "passed": [r for r in rows if r["decision"] == "GO" and not r["advisory"]],
    }


def _timeline(walk: dict[str, Any]) -> str:
    """Every phase on the line of time: what was done when, and the gate at its end."""
    steps = walk["steps"]
    total = max((p["to_s"] for s in steps for p in s["parts"]), default=1.0) or 1.0
    height = _TOP + _ROW * len(steps) + 28

    def x(seconds: float) -> float:
        return _LEFT + seconds / total * (_WIDTH - _LEFT - _MARK)

    out = [f'<svg class="chart" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="timeline">']
    for tick in range(0, int(total) + 1, _tick(total)):
        out.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 8}" y2="{height - 24:.0f}"/>')
        out.append(f'<text class="tick" x="{x(tick):.1f}" y="{height - 8:.0f}" text-anchor="middle">{tick} s</text>')
    for number, step in enumerate(steps):
        y = _TOP + number * _ROW
        label = Markup.escape(f"phase {step['phase']}")
        out.append(f'<text class="phase" x="{_LEFT - 12:.0f}" y="{y + 16:.1f}" text-anchor="end">{label}</text>')
        for part in step["parts"]:
            a, b = x(part["from_s"]), x(part["to_s"])
            kind = _COLOURS.get(part["name"], "first")
            title = Markup.escape(f"{part['name']}, {part['to_s'] - part['from_s']:.1f} s")
            out.append(
                f'<rect class="part {kind}" x="{a:.1f}" y="{y + 2:.1f}" width="{max(1.5, b - a):.1f}" '
                f'height="20" rx="2"><title>{title}</title></rect>'
            )
        end = x(max(p["to_s"] for p in step["parts"]))
        mark = f"{step['decision']}{', walked past' if step['overridden'] and _went_on(walk, number) else ''}"
        out.append(f'<text class="mark {_WORDS[step["decision"]]}" x="{end + 6:.1f}" y="{y + 16:.1f}">{mark}</text>')
    return "".join([*out, "</svg>"])


def _went_on(walk: dict[str, Any], number: int) -> bool:
    return bool(walk["steps"][number]["phase"] != walk["stopped_at"])


def _tick(total: float) -> int:
    return next((step for step in (1, 5, 10, 15, 30, 60, 120) if total / step <= 12), 300)
