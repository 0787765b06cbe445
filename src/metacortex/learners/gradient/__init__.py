"""learners/gradient"""
