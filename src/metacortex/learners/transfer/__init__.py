"""learners/transfer"""
