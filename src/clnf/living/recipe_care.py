"""The tables of a recipe that say how a chip is looked after: wear, heat, drift."""

from typing import Annotated, Literal, Self, final

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["AbstractPart", "DriftPart", "HeatPart", "LevellingPart"]


class AbstractPart(BaseModel):
    """A table of a recipe: frozen, nothing in it that nobody knows, each value of its own type.

    TOML tells a number from a text and from true; a whole number is taken where any is wanted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


@final
class LevellingPart(AbstractPart):
    """Wear of the cells that learn: what is moved between lessons, and what is told of it."""

    every: Annotated[int, Field(ge=0)] = 0
    budget: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    tiles: Annotated[int, Field(ge=0, le=16)] = 0
    exchange: bool = False
    life: bool = False

    @model_validator(mode="after")
    def _has_tiles(self) -> Self:
        if (self.tiles or self.exchange) and not self.every:
            raise ValueError("tiles change places before every n-th lesson; set levelling.every")
        return self


@final
class HeatPart(AbstractPart):
    """How warm a lesson makes the chip, and what is done about it."""

    on: bool = False
    package_k_w: Annotated[float, Field(ge=0.0)] = 0.0
    ambient_k: Annotated[float, Field(gt=0.0)] = 318.15
    slope: Annotated[float, Field(ge=-0.02, le=0.02)] = 0.0
    limit_k: Annotated[float, Field(ge=0.0)] = 0.0
    throttle: Literal["slower", "fewer"] = "slower"
    calibrate: Annotated[int, Field(ge=0, le=64)] = 0
    ageing: bool = False
    drift_ev: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    wear_ev: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    retention_hours: Annotated[float, Field(ge=0.0)] = 0.0
    retention_k: Annotated[float, Field(ge=0.0)] = 0.0
    retention_ev: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.on and self != HeatPart.model_construct(on=False):
            raise ValueError("the chip's heat is not looked at; set heat.on to true as well")
        supplied = (self.drift_ev, self.wear_ev, self.retention_hours, self.retention_k,
                    self.retention_ev)  # fmt: skip
        if any(supplied) and not self.ageing:
            raise ValueError("cells do not age in warmth; set heat.ageing to true as well")
        if self.limit_k and self.limit_k <= self.ambient_k:
            raise ValueError(
                f"a limit of {self.limit_k:g} K is not above the coolant's {self.ambient_k:g} K"
            )
        if self.calibrate and not self.slope:
            raise ValueError(
                "no source says how these cells follow temperature, so there is nothing to "
                "calibrate; supply a slope"
            )
        return self


@final
class DriftPart(AbstractPart):
    """What is watched for changes, and what answers them."""

    watch: bool = False
    data: Literal["consolidate", "nothing"] = "consolidate"
    hardware: Literal["recalibrate", "nothing"] = "recalibrate"
    harm: Literal["rollback", "nothing"] = "rollback"
    tolerance: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    look: Annotated[int, Field(ge=0, le=256)] = 16

    @model_validator(mode="after")
    def _is_watched(self) -> Self:
        if not self.watch and self != DriftPart.model_construct(watch=False):
            raise ValueError("nobody watches for changes; set drift.watch to true as well")
        if self.look == 1:
            raise ValueError("a distance needs two pictures; take drift.look 0 for none, or 2")
        return self
