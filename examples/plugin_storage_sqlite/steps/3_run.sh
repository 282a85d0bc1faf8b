pip install --editable './storage_sqlite[testing]'
pytest storage_sqlite
