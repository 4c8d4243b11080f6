"""Guards protect what is known while something new is learned, one method a file."""

from clnf.continual.guards.agem import AGEM, AGEMParams
from clnf.continual.guards.backprop import ContinualBackprop, ContinualBackpropParams
from clnf.continual.guards.der import DER, DERParams
from clnf.continual.guards.distil import Distillation, DistillationParams
from clnf.continual.guards.er_ace import ERACE, ERACEParams
from clnf.continual.guards.ewc import EWC, EWCParams
from clnf.continual.guards.fence import Fence, FenceParams
from clnf.continual.guards.hat import HAT, HATParams
from clnf.continual.guards.latent import LatentParams, LatentRehearsal
from clnf.continual.guards.lwf import LwF, LwFParams
from clnf.continual.guards.mas import MAS, MASParams
from clnf.continual.guards.matched import MatchedReplay, MatchedReplayParams
from clnf.continual.guards.metaplastic import Metaplastic, MetaplasticParams
from clnf.continual.guards.packnet import PackNet, PackNetParams
from clnf.continual.guards.reduced import ReducedRehearsal
from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.guards.si import SI, SIParams

__all__ = [
    "AGEM",
    "DER",
    "ERACE",
    "EWC",
    "HAT",
    "MAS",
    "SI",
    "AGEMParams",
    "ContinualBackprop",
    "ContinualBackpropParams",
    "DERParams",
    "Distillation",
    "DistillationParams",
    "ERACEParams",
    "EWCParams",
    "Fence",
    "FenceParams",
    "HATParams",
    "LatentParams",
    "LatentRehearsal",
    "LwF",
    "LwFParams",
    "MASParams",
    "MatchedReplay",
    "MatchedReplayParams",
    "Metaplastic",
    "MetaplasticParams",
    "PackNet",
    "PackNetParams",
    "ReducedRehearsal",
    "Rehearsal",
    "RehearsalParams",
    "SIParams",
]
