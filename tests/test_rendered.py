"""One row as TRL's collator renders it: what is counted is what it gives, and what is wrong with a row is told."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from mis_dataset.chat import completion, prompt
from tests.made_release import png
from tests.made_vlms import make_vlm
from tests.tiny import Tiny
from trainer.families import FAMILIES
from trainer.preflight.rendered import Rendered, Renderer, Settings, decode, pieces_of, text_of

PICTURE = {"bytes": png(1), "path": None}
HELD = "has the control token"


def make_row(question: str = "Which is larger?", response: str = "The first.", **changes: Any) -> dict[str, Any]:
    """A row of two small squares, undecoded."""
    images = [{"bytes": png(1), "path": "object1.png"}, {"bytes": png(99), "path": "object2.png"}]
    row = {"id": "train/1", "images": images, "prompt": prompt(question), "completion": completion(response)}
    return row | changes


def faults(found: Rendered) -> list[tuple[str, str]]:
    return [(fault.kind, fault.found) for fault in found.faults]


@pytest.fixture(scope="module")
def renderer(tiny: Tiny) -> Renderer:
    return Renderer(Settings(tiny.model))


def test_a_row_is_as_long_as_the_collator_makes_it(renderer: Renderer) -> None:
    row = make_row()
    batch = DataCollatorForVisionLanguageModeling(renderer._processor)([row | {"images": decode(row)[0]}])
    counted, whole = renderer.render(row, False), renderer.render(row, True)
    tokens = batch["input_ids"].shape[1]
    # A token a picture, between two marks.
    assert [(one.tokens, one.image_tokens, one.faults) for one in (counted, whole)] == [(tokens, 6, ())] * 2
    assert counted.batch_bytes is None
    assert whole.batch_bytes == sum(tensor.nbytes for tensor in batch.values())


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {"images": [{"bytes": png(n), "path": None} for n in (1, 2, 3)]},
            ("places", "has 3 pictures and 2 places for them in its prompt"),
        ),
        ({"images": []}, ("places", "has 0 pictures and 2 places for them in its prompt")),
        ({"images": None}, ("places", "has 0 pictures and 2 places for them in its prompt")),
        ({"images": [PICTURE, None]}, ("picture", "lacks picture 2")),
        (
            {"images": [{"bytes": None, "path": "a.png"}, {"bytes": png(1), "path": None}]},
            ("picture", "lacks picture 1"),
        ),
        (
            {"images": [{"bytes": b"?", "path": None}, PICTURE]},
            ("picture", "has a picture 1 that cannot be decoded (UnidentifiedImageError)"),
        ),
        (
            {"prompt": prompt("Is <IMG_CONTEXT> larger?")},
            ("control", f"{HELD} <IMG_CONTEXT> in its prompt"),
        ),
        (
            {"completion": completion("No.<|im_end|>")},
            ("control", f"{HELD} <|im_end|> in its completion"),
        ),
        ({"completion": completion(" \n")}, ("empty", "has an empty completion")),
        ({"completion": []}, ("empty", "has an empty completion")),
    ],
)
def test_a_row_that_is_broken_is_told(renderer: Renderer, changes: dict[str, Any], wanted: tuple[str, str]) -> None:
    assert faults(renderer.render(make_row(**changes), True)) == [wanted]


def test_all_that_is_wrong_with_a_row_is_told_at_once(renderer: Renderer) -> None:
    row = make_row(images=[{"bytes": b"?", "path": None}], completion=completion(""))
    assert {kind for kind, _ in faults(renderer.render(row, False))} == {"empty", "places", "picture"}


@pytest.mark.parametrize("response", ["Größe: 三つ 🙂\n\n- one\n- two", "Cafe\N{COMBINING ACUTE ACCENT}", "  blanks  "])
def test_labels_of_any_writing_decode_to_the_completion(renderer: Renderer, response: str) -> None:
    assert faults(renderer.render(make_row(response=response), True)) == []


def test_a_row_beyond_the_positions_of_the_model_is_told(tiny: Tiny, tmp_path: Path, renderer: Renderer) -> None:
    tokens = renderer.render(make_row(), False).tokens
    assert tokens is not None
    base = copy(tiny.model, tmp_path / "base")
    for positions, wanted in (
        (tokens, []),
        (tokens - 1, [("long", f"has {tokens} tokens, more than the {tokens - 1} positions of the model")]),
    ):
        change_json(base, "config.json", lambda held: held["text_config"], max_position_embeddings=positions)
        assert faults(Renderer(Settings(base)).render(make_row(), False)) == wanted


def test_a_tokenizer_larger_than_the_model_is_told(tiny: Tiny, tmp_path: Path) -> None:
    base = change_json(
        copy(tiny.model, tmp_path / "base"), "config.json", lambda held: held["text_config"], vocab_size=99
    )
    [(kind, found)] = faults(Renderer(Settings(base)).render(make_row(), False))
    assert kind == "vocabulary"
    assert found.endswith("and the model 99 tokens")


def test_another_image_token_than_the_model_has_is_told(tiny: Tiny, tmp_path: Path) -> None:
    assert [*Renderer(Settings(tiny.model)).model_faults()] == []
    base = change_json(copy(tiny.model, tmp_path / "base"), "config.json", lambda held: held, image_token_id=7)
    [fault] = Renderer(Settings(base)).model_faults()
    assert (fault.kind, fault.id) == ("vocabulary", None)
    assert fault.found.endswith("to the processor and 7 to the model")


def test_a_processor_that_does_not_look_is_told(tiny: Tiny, tmp_path: Path) -> None:
    base = copy(tiny.model, tmp_path / "base")
    change_json(base, "processor_config.json", lambda held: held["image_processor"], rescale_factor=1e-12)
    said = ("swapped", "looks the same to the model with its first two pictures swapped")
    assert faults(Renderer(Settings(base)).render(make_row(), True)) == [said]
    same = [PICTURE] * 2
    assert faults(Renderer(Settings(base)).render(make_row(images=same), True)) == []


def test_a_count_that_the_collator_does_not_confirm_is_told(tiny: Tiny) -> None:
    renderer = Renderer(Settings(tiny.model))
    tokens = renderer.render(make_row(), False).tokens
    assert tokens is not None
    renderer._processor.image_seq_length = 3
    assert faults(renderer.render(make_row(), False)) == []
    said = f"has {tokens + 4} tokens in TRL's collator and {tokens} by the sizes of its pictures"
    assert faults(renderer.render(make_row(), True)) == [("count", said)]


def test_what_a_processor_refuses_is_told_without_a_text_of_the_row(tiny: Tiny) -> None:
    renderer = Renderer(Settings(tiny.model))
    renderer._processor.image_processor = None
    assert faults(renderer.render(make_row(), True)) == [("render", "cannot be rendered (TypeError)")]


def put_pictures_last(template: str) -> str:
    parts, end = "message['content']", "{% endfor %}"
    start, _, rest = template.partition(f"{{% for part in {parts} %}}")
    texts = f"{{% for part in {parts} if part['type'] == 'text' %}}{{{{ part['text'] }}}}{end}"
    pictures = f"{{% for part in {parts} if part['type'] == 'image' %}}<IMG_CONTEXT>{end}"
    return start + texts + pictures + rest.partition(end)[2]


TEMPLATES: dict[str, tuple[Callable[[str], str], str]] = {
    "ends no turn": (lambda text: text.replace("<|im_end|>", ""), "template"),
    "cuts completions": (lambda text: text.replace("part['text'] }}", "part['text'][:10] }}"), "template"),
    "asks otherwise": (lambda text: text.replace("assistant\\n", "model\\n"), "template"),
    "asks with more blanks": (lambda text: text.replace("assistant\\n", "assistant\\n\\n"), "blanks"),
    "drops pictures": (lambda text: text.replace("{{ '<IMG_CONTEXT>' }}", ""), "template"),
    "puts pictures last": (put_pictures_last, "moved"),
}


@pytest.mark.parametrize("fault", TEMPLATES)
def test_a_template_with_a_fault_is_told(tiny: Tiny, tmp_path: Path, fault: str) -> None:
    change, wanted = TEMPLATES[fault]
    template = copy(tiny.model, tmp_path / "base") / "chat_template.jinja"
    before = template.read_text("utf-8")
    template.write_text(change(before), "utf-8")
    assert template.read_text("utf-8") != before
    found = Renderer(Settings(tmp_path / "base")).render(make_row(), True)
    assert {kind for kind, _ in faults(found)} == {wanted}


def test_contents_may_be_plain_text() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": " you"}]},
    ]
    assert [part["text"] for part in pieces_of(messages)] == ["Hello", " you"]
    assert text_of(messages) == "Hello you"


def picture(colour: int, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (colour, 90, 160)).save(stream, "PNG")
    return stream.getvalue()


def copy(model: Path, out: Path) -> Path:
    return Path(shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors")))


def change_json(folder: Path, name: str, place: Any, **values: Any) -> Path:
    """Sets keys of one JSON file of a checkpoint."""
    held = json.loads((folder / name).read_text("utf-8"))
    place(held).update(values)
    (folder / name).write_text(json.dumps(held), "utf-8")
    return folder


SIZES = [[(64, 64), (64, 64)], [(120, 40), (30, 90)], [(200, 200)], [(33, 47), (64, 64), (90, 20)], []]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_counted_as_the_collator_makes_them_whatever_the_sizes(tmp_path: Path, family: str) -> None:
    renderer = Renderer(Settings(make_vlm(tmp_path, family)))
    for number, sizes in enumerate(SIZES):
        images = [{"bytes": picture(place, size), "path": None} for place, size in enumerate(sizes)]
        row = make_row(id=str(number), images=images, prompt=prompt("Which is larger?\n\nSay why.", len(sizes)))
        found = renderer.render(row, True)
        assert (found.id, found.faults, found.image_tokens >= len(sizes)) == (str(number), (), True)
