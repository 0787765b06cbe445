"""The learner protocol and the learners, one algorithm to a file."""
