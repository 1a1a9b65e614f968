"""Weather: ensemble forecasts and climates from a flow, with physics off, soft or hard."""
