"""Files in PEFT's form: what is written is what it expects, what is not ours is refused by name."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clnf.chip import ChipSpec, host
from clnf.continual.adapters import (
    Stack,
    Switch,
    attach,
    attach_factors,
    attach_switched,
    factors_of,
    load_peft,
    read_peft,
    save_peft,
)
from clnf.core.errors import ConfigError, DataError, ExportError


@pytest.fixture
def saved(net, stir, tmp_path):
    model = net()
    attach(model, rank=2, scale=0.75)
    stir(model)
    return model, save_peft(model, tmp_path / "deep" / "adapter")


def config_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def change(folder, **fields):
    (folder / "adapter_config.json").write_text(json.dumps(config_of(folder) | fields))


def test_names_shapes_and_fields(saved):
    _, folder = saved
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    shapes = {k: [*v.shape] for k, v in load_file(folder / "adapter_model.safetensors").items()}
    assert shapes == {
        "base_model.model.0.lora_A.weight": [2, 3, 3, 3],
        "base_model.model.0.lora_B.weight": [8, 2, 1, 1],
        "base_model.model.2.lora_A.weight": [2, 8, 1, 1],
        "base_model.model.2.lora_B.weight": [6, 2, 1, 1],
        "base_model.model.4.lora_A.weight": [2, 96],
        "base_model.model.4.lora_B.weight": [10, 2],
    }
    config = config_of(folder)
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 1.5)
    assert config["target_modules"] == ["0", "2", "4"]
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


@pytest.mark.parametrize("stabilised", [False, True])
def test_there_and_back_to_the_bit(net, images, stir, tmp_path, stabilised):
    model, again = net(), net()
    attach(model, rank=4, scale=0.75)
    stir(model)
    save_peft(model, tmp_path, stabilised=stabilised)
    assert config_of(tmp_path)["use_rslora"] is stabilised
    assert load_peft(again, tmp_path) == ["0", "2", "4"]
    assert torch.equal(model(images), again(images))


def test_ranks_and_scales_by_layer(net, images, stir, tmp_path):
    model, again = net(), net()
    attach(model, rank=1, scale=2.0, only=lambda name, _: name == "0")
    attach(model, rank=4, scale=0.25)
    stir(model)
    save_peft(model, tmp_path)
    config = config_of(tmp_path)
    assert (config["r"], config["rank_pattern"]) == (4, {"^0": 1})
    assert config["alpha_pattern"] == {"^0": 2}
    load_peft(again, tmp_path)
    assert torch.equal(model(images), again(images))


def test_a_name_that_ends_another_is_written_as_a_pattern(stir, tmp_path):
    def build():
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        return nn.ModuleDict({"0": nn.Linear(4, 4), "deep": inner})

    model, again = build(), build()
    attach(model, rank=1, only=lambda name, _: name == "0")
    stir(model)
    save_peft(model, tmp_path)
    assert config_of(tmp_path)["target_modules"] == "0"
    assert load_peft(again, tmp_path) == ["0"]
    assert type(again["deep"][0]) is nn.Linear


def test_one_of_several_adapters_is_saved(net, images, stir, tmp_path):
    model, switch, plain = net(), Switch(["hands", "food"]), net()
    attach_switched(model, switch, rank=2, scale=0.5)
    stir(model)
    with pytest.raises(ConfigError, match="which one is not said"):
        save_peft(model, tmp_path)
    save_peft(model, tmp_path, "food")
    load_peft(plain, tmp_path)
    switch.choose(torch.ones(len(images), dtype=torch.int64))
    assert torch.equal(model(images), plain(images))
    stacked = net()
    stack = Stack(stacked, rank=1)
    stack.add("food", read_peft(tmp_path))
    assert torch.equal(stacked(images), plain(images))
    save_peft(stacked, tmp_path / "again", "food")
    first, second = (
        load_file(p / "adapter_model.safetensors") for p in (tmp_path, tmp_path / "again")
    )
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_cells_are_written_as_they_read(net, tmp_path):
    model, plain = net(), net()
    attach(model, rank=2, only=lambda name, _: name == "4")
    wanted = model[4].down.weight.detach().clone()
    host(
        model,
        assign=lambda name, _: "plastic" if name.endswith("down") else None,
        seed=1,
        spec=ChipSpec(),
    )
    save_peft(model, tmp_path)
    load_peft(plain, tmp_path)
    assert torch.equal(plain[4].down.weight, model[4].down.weight)
    assert not torch.equal(plain[4].down.weight, wanted)


FORMS = {
    "dilation": nn.Conv2d(4, 4, 3, dilation=2),
    "padding by reflect": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    "groups": nn.Conv2d(4, 4, 3, groups=2),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hosted", [False, True])
def test_forms_that_peft_would_lose_are_refused(form, hosted, tmp_path):
    model = nn.Sequential(FORMS[form], nn.Flatten())
    attach(model, rank=2)
    if hosted:
        host(model, assign=lambda *_: "plastic", seed=1, spec=ChipSpec())
    with pytest.raises(ExportError, match=f"0 is a convolution with {form}"):
        save_peft(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_layer_of_two_names_and_one_without_are_refused(tmp_path):
    leaf = nn.Linear(4, 4)
    shared = nn.ModuleDict({"a": leaf, "b": leaf})
    attach(shared, rank=1)
    with pytest.raises(ExportError, match="b is the same layer"):
        save_peft(shared, tmp_path)
    with pytest.raises(ExportError, match="has no name"):
        save_peft(shared["a"], tmp_path)
    (tmp_path / "taken").write_text("x")
    plain = nn.Sequential(nn.Linear(2, 2))
    attach(plain, rank=1)
    with pytest.raises(ExportError, match="cannot be made"):
        save_peft(plain, tmp_path / "taken")


REFUSED = {
    "peft_type": ("IA3", "type 'IA3'; only LORA"),
    "use_dora": (True, "use_dora is True .DoRA rescales"),
    "bias": ("all", "bias is 'all' .biases of the base"),
    "lora_bias": (True, "lora_bias is True"),
    "modules_to_save": (["head"], "modules_to_save is .* .whole layers"),
    "fan_in_fan_out": (True, "transposed"),
    "trainable_token_indices": ([1], "embedding"),
    "layer_replication": ([[0, 4]], "repeated"),
    "target_parameters": (["w"], "without a layer"),
    "init_lora_weights": ("pissa", "init_lora_weights is 'pissa'"),
    "use_qalora": (True, "not known here"),
    "something_new": ({"a": 1}, "something_new is .* .it is not known here"),
    "r": (0, "r is 0; a rank"),
    "lora_alpha": ("8", "lora_alpha is '8'"),
    "rank_pattern": ({"0|2": 2}, "rank_pattern has '0|2'; only names"),
    "alpha_pattern": ([1], "alpha_pattern is"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_is_not_taken_is_refused_by_name(saved, field):
    _, folder = saved
    value, sentence = REFUSED[field]
    change(folder, **{field: value})
    with pytest.raises(DataError, match=sentence):
        read_peft(folder)


def test_what_says_nothing_about_the_numbers_is_taken(saved, net, images):
    model, folder = saved
    change(
        folder,
        lora_dropout=0.1,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        base_model_name_or_path="x/y",
        init_lora_weights="gaussian",
        megatron_core="megatron.core",
        loftq_config={},
        rank_pattern={"^layers.0": 7},
        alpha_pattern={"3": 9},
        exclude_modules=["head"],
        some_switch_of_tomorrow=False,
    )
    again = net()
    load_peft(again, folder)
    assert torch.equal(model(images), again(images))


def test_patterns_stand_for_names_and_their_ends(tmp_path):
    model = nn.ModuleDict({"q": nn.Linear(4, 4), "deep": nn.ModuleDict({"q": nn.Linear(4, 4)})})
    attach(model, rank=2, scale=1.0)
    save_peft(model, tmp_path)
    for pattern, scales in {"q": (4.0, 4.0), "^q": (4.0, 1.0), r"deep\.q": (1.0, 4.0)}.items():
        change(tmp_path, alpha_pattern={pattern: 8})
        found = read_peft(tmp_path)
        assert (found["q"].scale, found["deep.q"].scale) == scales


A, B = "base_model.model.4.lora_A.weight", "base_model.model.4.lora_B.weight"
TENSORS = {
    "lora_B is missing": lambda t: t.pop(B),
    "lora_magnitude_vector": lambda t: t.update({B[:19] + "lora_magnitude_vector": t[B] + 0}),
    "lora_embedding_A": lambda t: t.update({"base_model.model.e.lora_embedding_A": t[A] + 0}),
    "do not fit rank 2": lambda t: t.update({A: torch.ones(3, 96)}),
    "no linear or two-dim": lambda t: t.update({A: torch.ones(2, 9, 3)}),
    "holds nan": lambda t: t[A].fill_(torch.nan),
    "real numbers are needed": lambda t: t.update({A: torch.ones(2, 96, dtype=torch.int64)}),
    "holds no tensors": lambda t: t.clear(),
}


@pytest.mark.parametrize("sentence", TENSORS)
def test_tensors_that_are_no_adapter_are_refused(saved, sentence):
    _, folder = saved
    path = folder / "adapter_model.safetensors"
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    TENSORS[sentence](tensors)
    save_file(tensors, path)
    with pytest.raises(DataError, match=sentence):
        read_peft(folder)


def test_half_precision_comes_into_the_layers_type(saved, net):
    _, folder = saved
    path = folder / "adapter_model.safetensors"
    save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path)
    assert read_peft(folder)["4"].up.dtype == torch.bfloat16
    model = net()
    load_peft(model, folder)
    assert model[4].up.weight.dtype == torch.float32


def test_layers_the_module_does_not_have_are_refused(saved):
    _, folder = saved
    small = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ConfigError, match="down of 0 has shape|no plain linear"):
        load_peft(small, folder)
    assert type(small[0]) is nn.Linear


def test_missing_pickled_and_foreign_files(saved, tmp_path):
    _, folder = saved
    with pytest.raises(DataError, match=r"adapter_config.json cannot be read"):
        read_peft(tmp_path / "nowhere")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(DataError, match="is pickled"):
        read_peft(folder)
    for text in ("[1]", "{", "[" * 100_000, '{"peft_type": "LORA", "r": 2, "lora_alpha": NaN}'):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(DataError):
            read_peft(folder)
    (folder / "adapter_config.json").write_bytes(b" " * 2**21)
    with pytest.raises(DataError, match="more than"):
        read_peft(folder)


def test_damage_is_refused_or_harmless(saved, net):
    """300 flipped bits and every kind of cut: a DataError, a ConfigError, or a whole adapter."""
    _, folder = saved
    path = folder / "adapter_model.safetensors"
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    header = int.from_bytes(whole[:8], "little") + 8
    damaged = [whole[:n] for n in range(0, len(whole), len(whole) // 40)]
    for _ in range(300):
        at = rng.randrange(8 * header)
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        try:
            attach_factors(net(), read_peft(folder))
        except (DataError, ConfigError):
            refused += 1
    assert refused > 300
    path.write_bytes(whole)
    assert set(read_peft(folder)) == {"0", "2", "4"}


def test_equal_adapters_give_equal_files_and_names_in_order(saved, tmp_path):
    model, folder = saved
    for number in range(5):
        again = save_peft(model, tmp_path / str(number))
        for path in folder.iterdir():
            assert (again / path.name).read_bytes() == path.read_bytes()
        assert list(read_peft(again)) == ["0", "2", "4"]


def test_writing_again_replaces(saved, stir):
    model, folder = saved
    stir(model, seed=5)
    save_peft(model, folder)
    assert torch.equal(read_peft(folder)["4"].up, factors_of(model)["4"].up)
