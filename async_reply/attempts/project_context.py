"""The project's own context manager around each job, which the setting AROUND_JOB names."""

from contextlib import AbstractContextManager, nullcontext

from django.utils.module_loading import import_string

from async_reply import conf
from async_reply.attempts.jobs import Job


def around(job: Job) -> AbstractContextManager[object, None]:
    """The context manager that the project makes for this job; by default an empty one.

    An error that the project's function or its context manager raises is an error of the job.
    """
    path = conf.get("AROUND_JOB")
    if path is None:
        return nullcontext()
    manager: AbstractContextManager[object, None] = import_string(path)(job)
    return manager
