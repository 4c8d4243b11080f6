"""Your own network on a simulated chip: five lessons of two digits, two guards, and the bill."""

import torch
from torch import nn

from clnf.chip.hosting import host
from clnf.chip.spec import ChipSpec
from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher
from clnf.continual.guards import EWC, EWCParams, Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced
from clnf.continual.metrics import average_accuracy, backward_transfer
from clnf.streams.stream import digits_stream


class _Yours(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(784, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.out(self.hidden((x.flatten(1) + 1) / 2).relu())


torch.manual_seed(7)
model = Classifier(_Yours())
chip = host(model, assign=lambda *_: "plastic", seed=7, spec=ChipSpec())
old = Rehearsal(Balanced(300, seed=7), RehearsalParams(samples=64, coefficient=1.0))
guards = [old, EWC(Fisher(model, seed=7), EWCParams(strength=1.0))]
learner = Learner(model, chip.optimizer(model.parameters(), lr=4e-3), guards=guards, seed=7)
exams, acc = [e.data.take(torch.arange(len(e.data))) for e in digits_stream(part="held_out")], []
si = "{0.energy_j:.1e} J {0.time_s:.1e} s".format
for lesson in digits_stream():
    chip.ledger.lesson = lesson.name
    list(learner.lesson(lesson, steps=100, batch_size=32))
    learner.consolidate(lesson)
    acc.append([(model(e.x).argmax(1) == e.cond).float().mean().item() for e in exams])
    print(lesson.name, [f"{a:.0%}" for a in acc[-1]], si(chip.ledger.total(lesson=lesson.name)))
print(f"ACC {average_accuracy(acc):.0%} BWT {backward_transfer(acc):+.0%}", si(chip.ledger.total()))
