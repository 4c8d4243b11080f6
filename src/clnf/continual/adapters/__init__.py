"""Adapters: small changes beside frozen layers; one, several in a sum, or one a concept.

Guards that hold lessons apart stand beside them, and files that other tools read and write.
"""

from clnf.continual.adapters.c_lora import CLoRA, CLoRAParams
from clnf.continual.adapters.factors import Factors, attach_factors, factors_of
from clnf.continual.adapters.low_rank import (
    LowRank,
    adapter_parameters,
    adapter_state,
    attach,
    load_adapter_state,
    scaling,
)
from clnf.continual.adapters.merging import Merged, merge, settle
from clnf.continual.adapters.o_lora import OLoRA, OLoRAParams
from clnf.continual.adapters.peft_files import load_peft, read_peft, save_peft
from clnf.continual.adapters.stacked import Stack, StackedLowRank
from clnf.continual.adapters.switched import Switch, SwitchedLowRank, attach_switched

__all__ = [
    "CLoRA",
    "CLoRAParams",
    "Factors",
    "LowRank",
    "Merged",
    "OLoRA",
    "OLoRAParams",
    "Stack",
    "StackedLowRank",
    "Switch",
    "SwitchedLowRank",
    "adapter_parameters",
    "adapter_state",
    "attach",
    "attach_factors",
    "attach_switched",
    "factors_of",
    "load_adapter_state",
    "load_peft",
    "merge",
    "read_peft",
    "save_peft",
    "scaling",
    "settle",
]
