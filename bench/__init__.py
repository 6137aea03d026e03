"""The benchmarks: real programs, real load, figures as ratios within one run. Not part of the package."""
