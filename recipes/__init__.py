"""How the models that we train ourselves are made."""
