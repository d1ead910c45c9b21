"""The bridge to the microcontroller in the vehicle mount: its panel and its firmware, spoken to over a serial line."""
