"""Groups of tiles: which lesson writes which, what a lesson leaves alone, and where tiles lie.

*gates* open one group for writing and shut the others, *isolation* measures what that keeps
unchanged. *traffic* finds which tiles talk to each other, *placement* puts them on a grid and says
what their talk costs, *table* and *picture* show all of it.
"""

from clnf.chip.groups.gates import Groups
from clnf.chip.groups.isolation import Change, answers, compared

__all__ = ["Change", "Groups", "answers", "compared"]
