"""Tokenizer and prompt of a converted InternVL2.5 are the original's, held against SentencePiece itself."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import AddedToken

from mis_dataset.chat import completion, prompt
from tests.made_internvl_chat import (
    IMAGE_TOKENS,
    SIZES,
    make_config,
    make_weights,
    train_sentencepiece,
    write,
    write_internlm2_tokenizer,
    write_qwen2_tokenizer,
)
from trainer.convert_internvl import convert, restore
from trainer.engines.local import respond
from trainer.internvl.layout import ConvertError
from trainer.internvl.sentencepiece import make_tokenizer, read_pieces
from trainer.models import control_tokens, load, load_processor

MODEL = train_sentencepiece()
TEXTS = (
    "How do I put the first one on the second one?",
    "  two  spaces,   three \n\n\tand a line ",
    "Zürich 你好 \U0001f600 naïve ½ ½½",
    "<s> </s> <unk> <0x0A> ▁<0x",
    "▁ a ▁▁ b",
    "aaaaaaa oooooo 123456",
    "",
    " ",
)
SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"


def spoken(model: bytes = MODEL) -> Any:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def made(folder: Path, model: bytes, added: dict[int, AddedToken] | None = None) -> Any:
    (folder / "tokenizer.model").write_bytes(model)
    return make_tokenizer(read_pieces(folder / "tokenizer.model"), added or {})


# Against SentencePiece


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
        {"normalization_rule_name": "nmt_nfkc", "add_dummy_prefix": True, "remove_extra_whitespaces": True},
        {"byte_fallback": False},
        {"vocab_size": 330},
    ],
    ids=str,
)
def test_ids_and_texts_are_those_of_sentencepiece(changes: dict[str, Any], tmp_path: Path) -> None:
    model = train_sentencepiece(**changes)
    tokenizer, own = made(tmp_path, model), spoken(model)
    assert tokenizer.get_vocab_size() == own.get_piece_size()
    for text in TEXTS:
        ids = own.encode(text)
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text
        if changes.get("byte_fallback", True):
            assert tokenizer.decode(ids, skip_special_tokens=False) == own.decode(ids), text


def test_a_symbol_of_its_own_is_one_token(tmp_path: Path) -> None:
    text = "a [UNUSED_TOKEN_0][UNUSED_TOKEN_1] b [UNUSED_TOKEN_9]"
    assert made(tmp_path, MODEL).encode(text).ids == spoken().encode(text)
    assert len(spoken().encode(text)) == len(spoken().encode("a  b [UNUSED_TOKEN_9]")) + 2


def test_the_name_that_a_control_token_had_before_is_plain_text(tmp_path: Path) -> None:
    old = "[UNUSED_TOKEN_3]"
    [id_] = spoken().encode(old)[-1:]
    tokenizer = made(tmp_path, MODEL, {id_: AddedToken("<|im_start|>", special=True, normalized=False)})
    assert tokenizer.encode("<|im_start|>").ids == [id_]
    assert id_ not in tokenizer.encode(old).ids  # SentencePiece alone would begin a turn here
    assert tokenizer.decode(tokenizer.encode(old).ids) == old


def test_a_tokenizer_of_other_merges_is_told_apart(tmp_path: Path) -> None:
    other = train_sentencepiece(vocab_size=330)
    assert made(tmp_path, other).encode(TEXTS[0]).ids != spoken().encode(TEXTS[0])


TOKENIZER: Any = None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("the first on ▁\n.?é你<>[]_0xA🙂"), max_size=30))
def test_any_text_has_the_ids_of_sentencepiece(text: str) -> None:
    global TOKENIZER
    if TOKENIZER is None:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            TOKENIZER = made(Path(folder), MODEL)
    assert TOKENIZER.encode(text, add_special_tokens=False).ids == spoken().encode(text)


@pytest.mark.parametrize("end", [0, 1, 40, len(MODEL) // 2, len(MODEL) - 3])
def test_a_file_that_is_cut_off_is_one_clear_error(end: int, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODEL[:end])
    with pytest.raises(ConvertError, match=f"{tmp_path / 'tokenizer.model'}: is no"):
        read_pieces(tmp_path / "tokenizer.model")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece(model_type="unigram", byte_fallback=False))
    with pytest.raises(ConvertError, match="is no byte-pair encoding"):
        read_pieces(tmp_path / "tokenizer.model")


# A whole checkpoint


@pytest.fixture(scope="module", params=["internlm2", "qwen2"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "original"
    folder.mkdir()
    internlm2 = request.param == "internlm2"
    count = write_internlm2_tokenizer(folder, MODEL) if internlm2 else write_qwen2_tokenizer(folder)
    config = make_config(SIZES["2B" if internlm2 else "1B"], count)
    return write(folder, config, make_weights(config), shards=2)


@pytest.fixture(scope="module")
def native(original: Path) -> Path:
    convert(original, original.with_name("native"))
    return original.with_name("native")


def expected_ids(original: Path, text: str) -> list[int]:
    """As the published tokenizers do: cut at added tokens, the parts encoded each by itself, in front ``<s>``."""
    config = json.loads((original / "tokenizer_config.json").read_text())
    added = {token["content"]: int(id_) for id_, token in config["added_tokens_decoder"].items()}
    internlm2 = (original / "tokenizer.model").exists()
    if internlm2:
        encode = spoken((original / "tokenizer.model").read_bytes()).encode
    else:
        own = hf.Qwen2Tokenizer(vocab=str(original / "vocab.json"), merges=str(original / "merges.txt"))
        encode = lambda part: own.encode(part, add_special_tokens=False)  # noqa: E731
    ids, rest = [1] if internlm2 else [], text
    while rest:
        places = {token: rest.find(token) for token in added if token in rest}
        token = min(places, key=lambda one: places[one]) if places else None
        end = places[token] if token else len(rest)
        ids += encode(rest[:end]) if end else []
        ids += [added[token]] if token else []
        rest = rest[end + len(token) :] if token else ""
    return ids


def test_a_prompt_is_token_by_token_that_of_the_original(original: Path, native: Path) -> None:
    processor = load_processor(native)
    question = "How do I put the first on the second?"
    text = processor.apply_chat_template(prompt(question), add_generation_prompt=True)
    wide, small = Image.new("RGB", (112, 56)), Image.new("RGB", (56, 56))
    ids = processor(text=[text], images=[[wide, small]], add_special_tokens=False, return_tensors="pt")["input_ids"]
    tiles = [f"<img>{'<IMG_CONTEXT>' * 4 * count}</img>" for count in (3, 1)]
    asked = f"Image-1: {tiles[0]}\nImage-2: {tiles[1]}\n{question}"
    whole = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    assert ids[0].tolist() == expected_ids(original, whole)


@pytest.mark.parametrize("special", [True, False])
def test_no_way_to_ask_gives_the_first_token_twice_or_not_at_all(native: Path, special: bool) -> None:
    processor = load_processor(native)
    first = processor.tokenizer.bos_token_id
    text = processor.apply_chat_template(prompt("Which?", 0), add_generation_prompt=True)
    ids = processor(text=[text], add_special_tokens=special)["input_ids"][0]
    said = processor.apply_chat_template(prompt("Which?", 0), add_generation_prompt=True, tokenize=True)[0]
    assert ids == said
    assert ids.count(first) == (1 if first is not None else 0)


def test_a_conversation_goes_on_and_a_system_message_of_ones_own_takes_the_place_of_its_own(native: Path) -> None:
    processor = load_processor(native)
    own = [{"role": "system", "content": "Be brief."}]
    text = processor.apply_chat_template([*own, *prompt("Which?", 0), *completion("Both."), *prompt("Why?", 0)])
    assert text.removeprefix("<s>") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhich?<|im_end|>\n"
        "<|im_start|>assistant\nBoth.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    )


def test_every_token_has_the_id_and_text_of_the_original(original: Path, native: Path) -> None:
    tokenizer = hf.AutoTokenizer.from_pretrained(native)
    config = json.loads((native / "config.json").read_text())
    assert len(tokenizer) == config["text_config"]["vocab_size"]
    assert tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>") == config["image_token_id"]
    for text in (*TEXTS, "<img><IMG_CONTEXT></img> a<|im_end|>\n<box>b </box>", "<video>"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        wanted = expected_ids(original, text)
        assert ids == (wanted[1:] if tokenizer.bos_token else wanted), text


def test_a_response_ends_with_im_end_and_decodes(native: Path) -> None:
    model, processor = load(native, cpu=True, float32=True)
    assert model.generation_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    [said] = respond(model, processor, [(prompt("Which?"), [Image.new("RGB", (60, 60))] * 2)], 5)
    assert said.ended or said.tokens > 5
    ids = processor.tokenizer.encode("both of them", add_special_tokens=False)
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == "both of them"
    assert {*IMAGE_TOKENS, "<|im_end|>"} <= set(control_tokens(processor))


def test_tiles_are_made_with_pillow_as_many_as_the_original_allows(native: Path) -> None:
    processor = load_processor(native)
    assert isinstance(processor.image_processor, hf.GotOcr2ImageProcessorPil)
    assert (processor.image_processor.max_patches, processor.image_seq_length) == (12, 4)
    assert tuple(processor.image_processor.image_mean) == (0.485, 0.456, 0.406)
    assert isinstance(hf.AutoProcessor.from_pretrained(native).image_processor, hf.GotOcr2ImageProcessor)


def test_tokenizer_files_come_back_byte_for_byte(original: Path, native: Path, tmp_path: Path) -> None:
    restore(native, tmp_path / "back")
    names = [path.name for path in original.iterdir() if ".safetensors" not in path.name]
    assert {name: (tmp_path / "back" / name).read_bytes() for name in names} == {
        name: (original / name).read_bytes() for name in names
    }


# What is refused


def broken(original: Path, folder: Path, file: str, change: Any) -> Path:
    shutil.copytree(original, folder)
    settings = json.loads((folder / file).read_text())
    change(settings)
    (folder / file).write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("added_tokens_decoder"), "says no added_tokens_decoder"),
        (lambda c: c["added_tokens_decoder"].update(x={"content": "<x>"}), "says no added_tokens_decoder"),
        (lambda c: c["added_tokens_decoder"].update({"9999": {"content": "<x>"}}), "id"),
        (lambda c: c["added_tokens_decoder"].popitem(), None),
        (lambda c: [t.update(content="<other>") for t in c["added_tokens_decoder"].values() if "CONT" in t["content"]],
         "says no <IMG_CONTEXT>, which prompts need"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_is_not_that_of_the_weights_is_refused(
    original: Path, tmp_path: Path, change: Any, said: str | None
) -> None:
    folder = broken(original, tmp_path / "broken", "tokenizer_config.json", change)
    if said is None:  # the last one, `</box>`, is in no prompt
        assert convert(folder, tmp_path / "native")["written"]
        return
    with pytest.raises(ConvertError, match=said):
        convert(folder, tmp_path / "native")
    assert not (tmp_path / "native").exists()


def test_special_tokens_that_were_written_as_objects_are_read(original: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["eos_token"] = {"__type": "AddedToken", "content": config["eos_token"], "special": True}

    convert(broken(original, tmp_path / "objects", "tokenizer_config.json", change), tmp_path / "native")
    expected = json.loads((original / "tokenizer_config.json").read_text())["eos_token"]
    assert hf.AutoTokenizer.from_pretrained(tmp_path / "native").eos_token == expected


def test_tokens_without_an_embedding_are_refused(original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(original, folder)
    config = json.loads((folder / "config.json").read_text())
    fewer = make_config(SIZES["2B" if config["llm_config"]["model_type"] == "internlm2" else "1B"], 200)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(ConvertError, match="has no embedding, of which there are 200"):
        convert(write(folder, fewer, make_weights(fewer)), tmp_path / "native")


@pytest.mark.parametrize("file", ["tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff{"])
def test_a_missing_or_broken_file_is_one_clear_error(
    original: Path, tmp_path: Path, file: str, content: bytes | None
) -> None:
    if not (original / file).exists() or (file, content) == ("merges.txt", b""):
        return
    folder = tmp_path / "broken"
    shutil.copytree(original, folder)
    (folder / file).write_bytes(content) if content is not None else (folder / file).unlink()
    said = f"{folder}: {file} is missing; fetch" if content is None else str(folder)
    with pytest.raises(ConvertError, match=said):
        convert(folder, tmp_path / "native")


def test_no_code_of_a_source_is_run(original: Path, tmp_path: Path) -> None:
    folder, ran = tmp_path / "evil", tmp_path / "ran"
    shutil.copytree(original, folder)
    for name in ("modeling_internvl_chat", "tokenization_internlm2", "configuration_internvl_chat"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\n")
    assert convert(folder, tmp_path / "native")["written"]
    assert not ran.exists()
    assert sorted(path.name for path in (tmp_path / "native").rglob("*.py")) == []


def test_the_pieces_of_a_test_are_many_enough_to_say_something() -> None:
    merged = [piece for piece in itertools.islice(map(spoken().id_to_piece, range(262, 400)), 200) if len(piece) > 2]
    assert len(merged) > 30
