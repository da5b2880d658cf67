"""The parts of the scale proof: ``python -m benchmarks.reaper_scale`` puts them together."""
