"""The Earth, its gravity and its air, in SI units."""

EARTH_RADIUS = 6.371e6
"""m, mean (Moritz 2000, Geodetic Reference System 1980)."""

OMEGA = 7.292e-5
"""rad/s (Holton & Hakim 2013, appendix A)."""

GRAVITY = 9.80665
"""m/s2, standard (3rd CGPM 1901); geopotential over it is height in m."""

R_DRY = 287.05
"""J/(kg K), gas constant of dry air (US Standard Atmosphere 1976: 8314.32 / 28.9644)."""
