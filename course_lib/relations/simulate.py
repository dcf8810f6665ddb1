"""All simulators under one name.

    system            edges                       features                        conserved
    springs           types of strength w         x, y, v_x, v_y                  energy, momentum
    charged           0 repel, 1 attract          x, y, v_x, v_y                  energy, momentum
    kuramoto          0 none, 1 coupled           dphi/dt, sin phi, cos phi       -
    n_body            complete                    x, y, v_x, v_y (masses apart)   energy, momentum
    bouncing_balls    complete                    x, y, v_x, v_y (masses apart)   energy
    string            neighbours                  x, y, v_x, v_y                  energy

Each returns `Simulations`; each `..._from` continues given states. Momentum of springs and charged
bodies is conserved until a wall is hit, and energy up to the error of the integrator. Units are the
simulator's own: lengths as in `box`, times as in `dt`, masses of 1 where nothing else is said.
"""

from course_lib.relations.balls import BALLS_SCALE, bouncing_balls, bouncing_balls_from
from course_lib.relations.bodies import (
    N_BODY_SCALE,
    STRING_SCALE,
    n_body,
    n_body_energy,
    n_body_from,
    string,
    string_energy,
    string_from,
)
from course_lib.relations.charged import CHARGED_SCALE, charged, charged_energy, charged_from
from course_lib.relations.kuramoto import (
    KURAMOTO_SCALE,
    kuramoto,
    kuramoto_from,
    kuramoto_rate,
)
from course_lib.relations.motion import (
    Simulations,
    from_unit_box,
    kinetic_energy,
    leapfrog,
    momentum,
    reflect,
    to_unit_box,
)
from course_lib.relations.springs import SPRINGS_SCALE, springs, springs_energy, springs_from

__all__ = [
    "BALLS_SCALE",
    "CHARGED_SCALE",
    "KURAMOTO_SCALE",
    "N_BODY_SCALE",
    "SPRINGS_SCALE",
    "STRING_SCALE",
    "Simulations",
    "bouncing_balls",
    "bouncing_balls_from",
    "charged",
    "charged_energy",
    "charged_from",
    "from_unit_box",
    "kinetic_energy",
    "kuramoto",
    "kuramoto_from",
    "kuramoto_rate",
    "leapfrog",
    "momentum",
    "n_body",
    "n_body_energy",
    "n_body_from",
    "reflect",
    "springs",
    "springs_energy",
    "springs_from",
    "string",
    "string_energy",
    "string_from",
    "to_unit_box",
]
