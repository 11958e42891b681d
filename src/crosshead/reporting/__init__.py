"""What people look at: plots, report pages, model cards."""
