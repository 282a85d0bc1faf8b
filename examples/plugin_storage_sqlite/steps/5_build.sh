pip wheel --no-deps --wheel-dir wheels ./storage_sqlite
pip install --force-reinstall --no-deps wheels/eventserver_storage_sqlite-0.1.0-py3-none-any.whl
