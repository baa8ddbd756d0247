"""What people see of a study: views of its history, which nobody else writes."""
