"""The application for any WSGI server: ``gunicorn eventserver_core.wsgi:app``.

``eventserver serve`` is the usual way; it runs gunicorn with the limits that the settings ask for.
"""

from __future__ import annotations

from eventserver_core import log
from eventserver_core.metrics.log_events import count_log_events
from eventserver_core.sections import LoggingSettings
from eventserver_core.wiring import Services, load_configuration, prepare_schema

_configuration = load_configuration()
_logging = _configuration.settings[LoggingSettings]
log.configure(_logging.level, _logging.format_in(_configuration.settings))
count_log_events()
_services = Services(_configuration)
prepare_schema(_services.database)

app = _services.application()
