"""An adapter for each lesson beside a frozen network: kept apart, weighed, merged, and shared."""

import torch
from torch import nn

from clnf.continual.adapters import CLoRA, CLoRAParams, Stack, merge, read_peft, save_peft
from clnf.continual.classifier import Classifier
from clnf.continual.learner import Learner
from clnf.streams.digits import rotated_digits

torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
model = Classifier(net)
upright, *turned = rotated_digits((0, 30, 60))
base = Learner(model, torch.optim.Adam(model.parameters(), 2e-3), seed=0)
list(base.lesson(upright.experience, steps=250, batch_size=32))

stack, names = Stack(net, rank=4), ("turned30", "turned60")
guard = CLoRA(model, CLoRAParams(strength=100.0))
for name, task in zip(names, turned, strict=True):
    stack.add(name)
    learner = Learner(model, torch.optim.Adam(stack.parameters(), 4e-3), guards=[guard], seed=0)
    list(learner.lesson(task.experience, steps=150, batch_size=32))
    learner.consolidate(task.experience)


def right() -> list[str]:
    """Accuracy on digits upright and turned by 30 and 60 degrees."""
    exams = [task.test.take(torch.arange(0, 2000, 4)) for task in (upright, *turned)]
    return [f"{(model(e.x).argmax(1) == e.cond).float().mean():.0%}" for e in exams]


print("both lessons", right())
stack.weigh("turned60", 0.0)
print("the first alone", right())
save_peft(net, "turned30", "turned30")  # Hugging Face PEFT reads this folder
merge(net)
print("merged", right(), "of rank", {f.rank for f in read_peft("turned30").values()})
