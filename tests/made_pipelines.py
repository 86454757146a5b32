"""A pipeline that draws and a model of texts and images: real architectures, random weights of some kB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ENDS = ("<|startoftext|>", "<|endoftext|>")
_SMALL = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}


def tokenizer(folder: Path) -> Any:
    """One of CLIP, which knows letters alone."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz,"
    words = [*letters, *(f"{letter}</w>" for letter in letters), *_ENDS]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def pipeline(folder: Path, seed: int = 0) -> Path:
    """A Stable Diffusion 3 with its three text encoders."""
    import torch
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    torch.manual_seed(seed)
    words = tokenizer(folder.with_name("words"))
    text = CLIPTextConfig(
        vocab_size=len(words), projection_dim=32, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1, **_SMALL
    )
    encoders = [CLIPTextModelWithProjection(text).eval() for _ in range(2)]
    third = T5Config(vocab_size=len(words), d_model=64, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=16,
        pooled_projection_dim=64,
        out_channels=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8,),
        norm_num_groups=4,
        latent_channels=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )
    StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        text_encoder=encoders[0],
        tokenizer=words,
        text_encoder_2=encoders[1],
        tokenizer_2=words,
        text_encoder_3=T5EncoderModel(third).eval(),
        tokenizer_3=words,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP for pictures of 16 pixels."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    torch.manual_seed(seed)
    words = tokenizer(folder.with_name("words"))
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    config = CLIPConfig(
        text_config={**_SMALL, **ends, "vocab_size": len(words), "max_position_embeddings": 40},
        vision_config={**_SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    shape = {"height": 16, "width": 16}
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=shape)
    CLIPProcessor(image_processor=images, tokenizer=words).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """A SigLIP for the same pictures, with the words of CLIP."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    torch.manual_seed(0)
    words = tokenizer(folder.with_name("words"))
    config = SiglipConfig(
        text_config={**_SMALL, "vocab_size": len(words), "max_position_embeddings": 40, "projection_size": 32},
        vision_config={**_SMALL, "image_size": 16, "patch_size": 8},
    )
    SiglipModel(config).save_pretrained(folder)
    images = SiglipImageProcessor(size={"height": 16, "width": 16})
    SiglipProcessor(image_processor=images, tokenizer=words).save_pretrained(folder)
    return folder
