"""A skill: what a meta-trained learner made of one folder of examples, in one small file."""
