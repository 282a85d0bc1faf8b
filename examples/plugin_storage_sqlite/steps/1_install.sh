pip install 'eventserver-core[testing]' eventserver-auth-cert
