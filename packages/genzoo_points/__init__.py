"""3D point clouds: generate, complete and export shapes, scored by the field's own protocol."""

from genzoo.parts import exports

PARTS = {
    "CellCritic": "critic",
    "CellFlow": "model",
    "CellLaw": "model",
    "CellNet": "net",
    "CellReader": "net",
    "MotionData": "motion.data",
    "MotionFlow": "motion.model",
    "PointNet": "net",
    "PointsData": "data",
    "SetNet": "net",
    "TrajectoryLaw": "motion.law",
    "TrajectoryNet": "motion.net",
}
"""Their classes that a configuration names, with the modules that they are in."""

__getattr__ = exports(__name__, PARTS)
