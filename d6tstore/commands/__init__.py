"""The commands of `d6tstore`, one module for each group, and what they share: finding tasks, telling, asking."""
