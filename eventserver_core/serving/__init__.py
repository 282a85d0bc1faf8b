"""Running the application under gunicorn, with the limits that the settings ask for."""
