"""Fuzzing: inputs made worse and worse, for the parts of headrace that read what others wrote.

From the folder `tests`, in a process of its own so that a crash, a hang or a lack of memory is seen from outside:

    python -m fuzzing TARGET SECONDS SEED    # the same seed makes the same inputs
    python -m fuzzing TARGET FILE            # once more the input that an earlier run recorded
"""
