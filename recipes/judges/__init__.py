"""How the judges that we train ourselves are made: never from what trains or rewards the editor."""
