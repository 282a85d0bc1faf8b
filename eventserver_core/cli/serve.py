"""``eventserver serve``"""

from __future__ import annotations

import click

from eventserver_core.cli.context import CommandContext, pass_command_context
from eventserver_core.log import get_logger


@click.command("serve")
@click.option("--with-worker", is_flag=True, help="Run the anchoring worker beside the API.")
@pass_command_context
def command(context: CommandContext, with_worker: bool) -> None:
    """Serve the API under gunicorn.

    Ends with status 0 after SIGTERM or SIGINT, when the requests under way are done.
    """
    from eventserver_core.serving.counting import open_directory

    open_directory()  # before what counts is imported

    from eventserver_core.serving.server import Server, require_free_port, worker_command
    from eventserver_core.wiring import Services, prepare_schema

    # everything that can be wrong is found here, before a process is forked
    services = Services(context.configuration)
    services.load_backends()
    prepare_schema(services.database)
    services.database.close()
    require_free_port(context.configuration.settings)
    if not with_worker:
        get_logger().info("no_worker_here", next_step="events wait until eventserver worker runs")
    beside = worker_command(context.arguments) if with_worker else None
    Server(context.configuration, beside).run()
