"""Weather: ensemble forecasts and climates from a flow, with physics off, soft or hard."""

from genzoo.parts import exports

PARTS = {
    "Conserve": "constraints",
    "LinearForecast": "linear",
    "Residual": "constraints",
    "WeatherData": "data",
    "WeatherNet": "net",
}
"""Their classes that a configuration names, with the modules that they are in."""

__getattr__ = exports(__name__, PARTS)
