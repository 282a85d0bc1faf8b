eventserver serve --with-worker
