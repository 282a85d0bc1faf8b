eventserver plugin new storage sqlite
