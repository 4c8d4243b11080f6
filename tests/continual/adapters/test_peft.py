"""Hugging Face PEFT reads what is written here and the other way round, to the same answers.

Skipped where PEFT is not installed; ``pip install peft`` brings it.
"""

import warnings

import pytest
import torch
from torch import nn

from clnf.continual.adapters import (
    Stack,
    attach,
    factors_of,
    load_peft,
    merge,
    read_peft,
    save_peft,
)
from clnf.core.errors import DataError, ExportError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    peft = pytest.importorskip("peft", reason="PEFT is not installed, and its files go unread")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft", "ignore::FutureWarning")


def build() -> nn.Module:
    """Names that nest, end each other, and layers that nobody adapts."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.SiLU(), nn.Conv2d(8, 6, 1)),
        nn.Flatten(),
        nn.Linear(96, 12, bias=False),
        nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 10)),
    )


def same(mine, theirs, images):
    """Equal answers in double precision, so that only what is meant differs, not rounding."""
    x = images.double()
    found, wanted = mine.double()(x), theirs.double().eval()(x)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def tensors_of(model):
    return {k: v.clone() for k, v in peft.get_peft_model_state_dict(model).items()}


def their_random(config, seed=1):
    """A model of theirs whose adapters have values."""
    model = peft.get_peft_model(build(), config)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model


ONLY = {
    "all": None,
    "linear": lambda name, leaf: isinstance(leaf, nn.Linear),
    "convolutions": lambda name, leaf: isinstance(leaf, nn.Conv2d),
    # "0" and "2" also end names inside; neither "2.0", "2.2" nor "5.2" is to be adapted
    "first": lambda name, leaf: name in ("0", "4"),
    "inside": lambda name, leaf: name in ("2.0", "5.2"),
}


@pytest.mark.parametrize("which", ONLY)
@pytest.mark.parametrize("stabilised", [False, True])
def test_they_read_what_we_write(images, stir, tmp_path, which, stabilised):
    model = build()
    names = attach(model, rank=3, scale=0.7, only=ONLY[which])
    stir(model)
    save_peft(model, tmp_path, stabilised=stabilised)
    theirs = peft.PeftModel.from_pretrained(build(), str(tmp_path)).eval()
    adapted = [n for n, m in theirs.base_model.model.named_modules() if hasattr(m, "lora_A")]
    assert sorted(adapted) == sorted(names)
    own = factors_of(model)
    for key, value in tensors_of(theirs).items():
        name, side = key.removeprefix("base_model.model.").removesuffix(".weight").split(".lora_")
        assert torch.equal(value, own[name].down if side == "A" else own[name].up)
    assert not torch.allclose(build()(images), model(images), atol=1e-3)  # control
    same(model, theirs, images)


def test_they_read_ranks_and_scales_by_layer(images, stir, tmp_path):
    model = build()
    attach(model, rank=1, scale=2.0, only=lambda name, _: name in ("0", "5.0"))
    attach(model, rank=4, scale=0.3)
    stir(model)
    save_peft(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(build(), str(tmp_path)).eval()
    same(model, theirs, images)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"use_rslora": True},
        {"lora_dropout": 0.2},
        {"rank_pattern": {"5.0": 1, "^0": 5}, "alpha_pattern": {"0": 3}},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal"},
    ],
    ids=["plain", "rslora", "dropout", "patterns", "gaussian", "orthogonal"],
)
def test_we_read_what_they_write(images, tmp_path, more):
    targets = ["0", "2.0", "2.2", "4", "5.0", "5.2"]
    if "orthogonal" in more.values():  # theirs for linear layers alone
        targets = ["4", "5.0", "5.2"]
    theirs = their_random(peft.LoraConfig(r=2, lora_alpha=5, target_modules=targets, **more)).eval()
    theirs.save_pretrained(str(tmp_path))
    model = build()
    assert sorted(load_peft(model, tmp_path)) == targets
    same(model, theirs, images)
    merge(model)
    same(model, theirs.merge_and_unload(), images)


def test_there_and_back_through_them(images, stir, tmp_path):
    model, again = build(), build()
    attach(model, rank=2, scale=1.5)
    stir(model)
    save_peft(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(build(), str(tmp_path / "ours"))
    theirs.save_pretrained(str(tmp_path / "theirs"))
    load_peft(again, tmp_path / "theirs")
    assert torch.equal(model(images), again(images))


def test_a_stack_is_their_weighted_sum(images, tmp_path):
    """Two adapters of theirs, joined by their exact method, and the same two as a stack."""
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["0", "4", "5.0"])
    for name, seed in (("a", 1), ("b", 2)):
        their_random(config, seed).save_pretrained(str(tmp_path / name))
    theirs = peft.PeftModel.from_pretrained(build(), str(tmp_path / "a"), adapter_name="a")
    theirs.load_adapter(str(tmp_path / "b"), adapter_name="b")
    theirs.double()  # they multiply the weights in at once, and round
    theirs.add_weighted_adapter(["a", "b"], [0.8, 0.3], "both", combination_type="cat")
    theirs.set_adapter("both")
    model = build()
    stack = Stack(model, rank=2)
    for name, weight in (("a", 0.8), ("b", 0.3)):
        stack.add(name, read_peft(tmp_path / name))
        stack.weigh(name, weight)
    same(model, theirs, images)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "lora_only"}, "bias is"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["5.2"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    ],
)
def test_what_we_do_not_take_is_named(tmp_path, more, sentence):
    config = peft.LoraConfig(r=2, target_modules=["5.0"], **more)
    peft.get_peft_model(build(), config).save_pretrained(str(tmp_path))
    with pytest.raises(DataError, match=sentence):
        read_peft(tmp_path)


def test_other_kinds_and_embeddings_are_named(tmp_path):
    config = peft.IA3Config(target_modules=["5.0"], feedforward_modules=[])
    peft.get_peft_model(build(), config).save_pretrained(str(tmp_path / "ia3"))
    with pytest.raises(DataError, match="IA3"):
        read_peft(tmp_path / "ia3")
    words = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 4))
    model = peft.get_peft_model(words, peft.LoraConfig(r=2, target_modules=["0", "1"]))
    model.save_pretrained(str(tmp_path / "words"))
    with pytest.raises(DataError, match="lora_embedding"):
        read_peft(tmp_path / "words")


def test_the_forms_we_refuse_are_ones_they_lose(images, tmp_path):
    """Their adapter of a dilated or reflecting convolution is another one: no file can say ours."""
    for layer in (
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 3, dilation=2),
    ):
        theirs = peft.get_peft_model(
            nn.Sequential(layer), peft.LoraConfig(r=2, target_modules=["0"])
        )
        adapter = theirs.base_model.model[0].lora_A["default"]
        assert (adapter.padding_mode, adapter.dilation) == ("zeros", (1, 1))
        assert (layer.padding_mode, layer.dilation) != ("zeros", (1, 1))
        model = nn.Sequential(layer)
        attach(model, rank=2)
        with pytest.raises(ExportError, match="PEFT's adapters do not have"):
            save_peft(model, tmp_path)
