"""learners/metric"""
