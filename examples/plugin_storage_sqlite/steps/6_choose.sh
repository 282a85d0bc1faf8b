eventserver plugins
eventserver check-config
