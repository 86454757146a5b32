"""Space of one metric: verdicts in, figures with k, n, unscored and 95 % intervals out. Runs alone, from its folder.

This file lies beside every metric, the same to the letter, and serves the one that it lies beside. `evaluate` has a
page of its own, `launch_gradio_widget`, but that asks for `gr.inputs`, which gradio 6 has not; so one is made here.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MOST_BYTES, MOST_ROWS = 2_000_000, 20_000
SPACES = {  # metric -> its kind, rows to begin with; all columns but the last are needed
    "attack_success_rate": ("metric", "predictions,perceptions,splits;Unsafe,1,easy;Safe,2,hard;Unscored,0,hard"),
    "over_refusal": ("metric", "predictions,splits;Unsafe,easy;Safe,easy;Unsafe,hard;Unscored,hard"),
    "pair_accuracy": ("metric", "predictions,twins,splits;Safe,Unsafe,easy;Safe,Safe,hard;Unsafe,Unsafe,hard"),
    "paired_rates": ("comparison", "predictions1,predictions2,success,splits;Safe,Safe,Safe,easy;Safe,Unsafe,Safe,"),
    "judge_agreement": ("measurement", "judge 1,judge 2,splits;Safe,Safe,easy;Safe,Unsafe,hard;Unsafe,Unsafe,hard"),
}
NAME = next(name for name in SPACES if (HERE / f"{name}.py").is_file())
KIND = SPACES[NAME][0]
COLUMNS, *EXAMPLE = csv.reader(SPACES[NAME][1].split(";"))
NEEDED = COLUMNS[:-1]
GROUPS = ["splits", "levels", "categories", "sub_categories", *(["clusters"] if KIND != "measurement" else [])]
ALSO = {} if "predictions" not in NEEDED else {"verdict": "predictions", "perception": "perceptions"}
FIGURES = ("asr", "rsr", "rr", "hr", "over_refusal", "pair_accuracy", "rate1", "rate2", "agreement", "alpha")
STYLE = """
pre, code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
td code { overflow-wrap: normal; }
.token, .info-text, .or, footer, footer * { color: var(--body-text-color) !important; }
.block.card { margin-top: 1rem; border-top: 1px solid var(--border-color-primary); border-radius: 0; }
"""
"""Code and footer with enough contrast, and no line of code that only a mouse can scroll to its end."""
HUES = {"primary_hue": "blue", "neutral_hue": "slate", "font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
"""With fonts of the visitor's system, none fetched."""
LOOK = {"button_primary_background_fill": "*primary_600", "button_primary_background_fill_hover": "*primary_700"}
HEAD = ["rows", "figure", "value", "low", "high", "k", "n", "unscored", "least", "most", "remark"]


def told(rows: Sequence[Mapping[str, Any]] | str) -> tuple[str, list[list[str]]]:
    """One line that says what was computed, and a line a figure; of bad rows one line that says what is wrong alone."""
    import evaluate

    try:
        inputs, unread = to_inputs(read(rows) if isinstance(rows, str) else rows)
        metric = evaluate.load(str(HERE / f"{NAME}.py"), module_type=KIND, keep_in_memory=True)
        found = metric.compute(**inputs)
    except (ValueError, csv.Error) as error:
        return f"Refused: {' '.join(str(error).split())}"[:500], []
    return f"{NAME} {metric.METRIC_VERSION} of {len(next(iter(inputs.values())))} rows{unread}", lines(found)


def read(text: str) -> list[dict[str, Any]]:
    """Rows of JSON Lines, or of CSV with a head; a ValueError names a line that is neither and shows no word of it."""
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes; take `evaluate` by itself.")
    if not text.lstrip().startswith("{"):
        return [{str(name): row[name] for name in row} for row in csv.DictReader(text.splitlines())]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object; give one a line, with {', '.join(NEEDED)}.")
        rows += [row] if row else []
    return rows


def to_inputs(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """What the metric is asked with, and in words what it knows nothing of; an empty cell is None."""
    if not 0 < len(rows) <= MOST_ROWS:
        raise ValueError(f"{len(rows)} rows; give 1 to {MOST_ROWS}.")
    named = [{ALSO.get(key, key): None if cell == "" else cell for key, cell in row.items()} for row in rows]
    columns = {key: [row.get(key) for row in named] for key in dict.fromkeys(key for row in named for key in row)}
    groups = {name: columns.pop(name) for name in GROUPS if name in columns}
    if KIND == "measurement":  # any other column is a judge
        return {"verdicts": list(map(list, zip(*columns.values(), strict=True))), "judges": list(columns), **groups}, ""
    if missing := [name for name in NEEDED if name not in columns]:
        raise ValueError(f"no column {', '.join(missing)}; needed are {', '.join(NEEDED)}.")
    known = {name: columns.pop(name) for name in NEEDED}
    if "perceptions" in known:
        known["perceptions"] = [int(one) if one in ("0", "1", "2", "3") else one for one in known["perceptions"]]
    return {**known, **groups}, "".join(f"; not read: {name}" for name in columns)[:200]


def lines(found: Mapping[str, Any], rows: str = "all") -> list[list[str]]:
    """A line a figure, as `HEAD`, of all rows and then of every group."""
    groups = [(key, name) for key in found if key.startswith("by_") for name in found[key]]
    figures = {name: found[name] for name in FIGURES if name in found}
    if "difference" in found:
        figures |= {"difference": {**found, "rate": found["difference"]}, "p": {"rate": found["p"]}}
    for pair in found.get("pairs", []):
        figures[f"kappa of {' and '.join(pair['judges'])}"] = {**pair["kappa"], "rate": pair["kappa"]["kappa"]}
    made = []
    for name, one in figures.items():
        held = [one.get("rate", one.get(name)), *map(one.get, HEAD[3:8]), *map(one.get("bounds", {}).get, HEAD[8:10])]
        shown = ["–" if it is None else f"{it:.4g}" if isinstance(it, float) else str(it) for it in held]
        made.append([rows, name, *shown, one.get("reason") or ""])
    return made + [line for key, name in groups for line in lines(found[key][name], f"{key[3:]} {name}")]


def page() -> Any:
    """The page; what people give is shown as text and never as HTML."""
    import gradio as gr
    import yaml

    def from_table(table: list[list[str]]) -> tuple[str, list[list[str]]]:
        return told([dict(zip(COLUMNS, row, strict=False)) for row in table if any(row)])

    def from_text(text: str, file: str | None) -> tuple[str, list[list[str]]]:
        return told(Path(file).read_bytes()[: MOST_BYTES + 1].decode("utf-8", "replace") if file else text)

    _, header, card = (HERE / "README.md").read_text("utf-8").split("---\n", 2)
    told_of = yaml.safe_load(header)
    with gr.Blocks(title=told_of["title"], analytics_enabled=False) as made:
        gr.Markdown(f"# {told_of['title']}\n{told_of['description']}")
        with gr.Tab("From a table"):
            cells = gr.Dataframe(
                EXAMPLE,
                label="Verdicts: change a cell, add a row",
                headers=COLUMNS,
                datatype="str",
                type="array",
                interactive=True,
            )
            by_table = gr.Button("Compute from this table", variant="primary")
        with gr.Tab("From text or a file"):
            text = gr.Textbox(
                label="JSON Lines or CSV",
                info=f"Columns: {', '.join(NEEDED + GROUPS)}",
                lines=5,
                max_length=MOST_BYTES,
            )
            file = gr.File(label="or such a file", file_types=[".jsonl", ".json", ".csv"], height=120)
            by_text = gr.Button("Compute from text or file", variant="primary")
        shown = [
            gr.Textbox(label="Computed", placeholder="Nothing yet", lines=1),
            gr.Dataframe(label="Figures", headers=HEAD, datatype="str", interactive=False),
        ]
        gr.Markdown(card.replace("# Metric card", "## Metric card", 1), elem_classes="card")
        by_table.click(from_table, cells, shown, api_name="table")
        by_text.click(from_text, [text, file], shown, api_name="text")
    return made


if __name__ == "__main__":
    from gradio.themes import Base

    page().launch(max_file_size=MOST_BYTES, css=STYLE, theme=Base(**HUES).set(**LOOK))
