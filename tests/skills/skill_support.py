"""The learners whose skills are tested."""

LEARNERS = {
    "protonet": {},
    "maml": {"inner_lr": 0.1},
    "fine_tuning": {"tune_steps": 5},
    "nearest_neighbour": {},
}
