"""client.py URL REPOSITORY ID: makes a taskspace with the client that openapi-python-client generates."""

import sys

from taskspace_client import Client
from taskspace_client.api.taskspaces import create_taskspace, list_taskspaces, show_taskspace
from taskspace_client.models import CreateRequest, DetailView, Operation, OperationState, Problem, Status

url, repository, name = sys.argv[1:]
client = Client(base_url=url, timeout=300)
request = CreateRequest(project=repository, id=name)
operation = create_taskspace.sync(client=client, body=request, wait=True)
assert isinstance(operation, Operation) and operation.state == OperationState.DONE, operation
shown = show_taskspace.sync(name, client=client)
assert isinstance(shown, DetailView) and shown.status == Status.RUNNING, shown
assert [taskspace.id for taskspace in list_taskspaces.sync(client=client)] == [name]
again = create_taskspace.sync(client=client, body=request, wait=True)
assert isinstance(again, Problem) and again.status == 409, again
print(f"created {name} at {shown.spec.project.commit}")
