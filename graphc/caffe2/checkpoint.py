"""``caffe2.python.checkpoint``: jobs of epochs, which save the workspace after each and can go on from any.

Files are called ``PREFIX/NODE.EPOCH``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from graphc.caffe2 import context, core
from graphc.caffe2.net_builder import ops
from graphc.caffe2.task import Node, Task, TaskGroup, TaskOutput, WorkspaceType, final_output

logger = logging.getLogger(__name__)


class Job(context.Managed):
    """Groups of tasks: ``init_group`` runs once, ``epoch_group`` until a stop condition is true, then
    ``download_group`` and ``exit_group``. Tasks made within the job belong to the epochs."""

    def __init__(
        self,
        init_group: Any = None,
        epoch_group: Any = None,
        download_group: Any = None,
        exit_group: Any = None,
        stop_conditions: list[TaskOutput] | None = None,
        nodes_to_checkpoint: list[str] | None = None,
    ) -> None:
        self.init_group = init_group or TaskGroup(workspace_type=WorkspaceType.GLOBAL)
        self.epoch_group = epoch_group or TaskGroup()
        self.download_group = download_group or TaskGroup()
        self.exit_group = exit_group or TaskGroup()
        self.stop_conditions: list[TaskOutput] = stop_conditions or []
        self._nodes_to_checkpoint = nodes_to_checkpoint

    def nodes_to_checkpoint(self) -> list[str]:
        """The nodes whose workspaces are saved: by default those of ``init_group``."""
        return self._nodes_to_checkpoint or list(self.init_group.used_nodes())

    def compile(self, session_class: Any) -> None:
        """Prepare the groups for sessions of a class."""
        self._nodes_to_checkpoint = self.nodes_to_checkpoint()
        for name in ("init_group", "epoch_group", "download_group", "exit_group"):
            setattr(self, name, session_class.compile(getattr(self, name)))

    def __enter__(self) -> Job:
        super().__enter__()
        self.epoch_group.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self.epoch_group.__exit__(*args)
        super().__exit__(*args)

    def add_stop_condition(self, output: Any) -> None:
        """Let a blob, or an output of a task, end the job when it is true after an epoch."""
        if isinstance(output, core.BlobReference):
            output = Task(outputs=[output], group=self.epoch_group).outputs()[0]
        if not isinstance(output, TaskOutput):
            raise AssertionError(f"a blob or a TaskOutput is needed, not {type(output).__name__}")
        self.stop_conditions.append(output)


def get_ckpt_filename(node_name: str, epoch: int) -> str:
    """The name of a file: ``NODE.EPOCH``."""
    return f"{node_name}.{epoch}"


def db_name(epoch: int, node_name: str, db_prefix: str, path_prefix: str | None = None) -> str:
    """The path of a file: in the folder ``db_prefix``, or with ``path_prefix`` before its name."""
    name = get_ckpt_filename(node_name, epoch)
    return path_prefix + name if path_prefix else os.path.join(db_prefix, name)


class _Metadata:
    """What both managers ask their metadata handler, an object of the user's that remembers epochs."""

    _db_prefix: str
    _db_type: str
    _metadata_handler: Any
    _path_prefix: str | None = None
    _path_type: str | None = None

    def write_checkpoint_metadata(self, epoch: int) -> None:
        """Tell the handler that an epoch was saved."""
        if self._metadata_handler is not None:
            self._metadata_handler.write(epoch=epoch)

    def get_resume_from_epoch_id(self, user_epoch: int | None = None) -> int | None:
        """The epoch to go on from: what the handler says, else what was given."""
        if self._metadata_handler is None:
            return user_epoch
        found: int | None = self._metadata_handler.last_epoch(user_epoch=user_epoch)
        return found

    def _set_params(self, names: list[str], path_prefix: str | None, path_type: str | None) -> None:
        self._path_prefix, self._path_type = path_prefix or self._path_prefix, path_type or self._path_type
        if self._metadata_handler is not None:
            self._metadata_handler.set_params(
                db_prefix=self._db_prefix,
                db_type=self._db_type,
                node_names=names,
                path_prefix=self._path_prefix,
                path_type=self._path_type,
            )

    def cp_accessible(self, epoch: int | None = None) -> bool:
        """Files can be written, as far as the handler knows."""
        return True if self._metadata_handler is None else bool(self._metadata_handler.cp_accessible(epoch))

    def collect_checkpoint_stats(self, stats: dict[str, Any]) -> None:
        """Add the time of the last reading or writing, in nanoseconds, by path."""
        raise NotImplementedError

    def report_checkpoint_stats(self, action_name: str) -> None:
        """Tell the handler the times."""
        stats: dict[str, Any] = {}
        self.collect_checkpoint_stats(stats)
        if self._metadata_handler is not None:
            self._metadata_handler.report(action_name, stats)


class CheckpointManager(_Metadata):
    """Saves and loads the blobs of one node. metadata_handler: an object that remembers epochs, or None."""

    def __init__(self, db_prefix: str, node_name: str, db_type: str, metadata_handler: Any = None) -> None:
        self._db_prefix, self._node_name, self._db_type = db_prefix, node_name, db_type
        self._metadata_handler = metadata_handler
        self._net = core.Net("!!checkpoint_mngr")
        self._blob_names = self._net.AddExternalInput("blob_names")
        self._names_output: TaskOutput | None = None
        self._current_db_name: str | None = None
        self._current_checkpoint_duration: TaskOutput | None = None

    def init(
        self,
        nodes: Sequence[Any] | None = None,
        retrieve_from_epoch: int | None = None,
        path_prefix: str | None = None,
        path_type: str | None = None,
    ) -> Task:
        """A task that finds the names of the blobs: those of the workspace, or of a file."""
        if nodes is not None and len(nodes) != 1:
            raise AssertionError("CheckpointManager only supports single node.")
        with Task(outputs=[self._blob_names]) as task:
            if retrieve_from_epoch is None:
                ops.GetAllBlobNames([], self._blob_names, include_shared=False)
            else:
                path = db_name(retrieve_from_epoch, self._node_name, self._db_prefix, path_prefix)
                self._add_load(self._blob_names, path, path_type)
        self._names_output = task.outputs()[0]
        return task

    def _add_load(self, blobs: Any, path: str, path_type: str | None = None, **kwargs: Any) -> None:
        ops.Load([], blobs, db=path, db_type=path_type or self._db_type, absolute_path=True, **kwargs)

    def blob_list(self) -> list[Any]:
        """The names of the blobs; raises ``AssertionError`` before ``init``."""
        if self._names_output is None:
            raise AssertionError("init must be called first.")
        names: list[Any] = self._names_output.fetch().tolist()
        return names

    def _timed_task(self, name: str, add_op: Callable[[], None]) -> Task:
        with Task(name=name) as task:
            with ops.task_init():
                timer = ops.TimerBegin([], counter_name=self._node_name)
            add_op()
            with ops.task_exit():
                span = ops.TimerGetAndEnd(timer)
            self._current_checkpoint_duration = final_output(span)
        return task

    def collect_checkpoint_stats(self, stats: dict[str, Any]) -> None:
        """Add the time of the last reading or writing, in nanoseconds, by path."""
        if self._current_db_name and self._current_checkpoint_duration:
            stats[self._current_db_name] = self._current_checkpoint_duration.fetch()[0]
        else:
            logger.info("nothing was saved or loaded yet")

    def load(self, epoch: int, path_prefix: str | None = None, path_type: str | None = None) -> Task:
        """A task that loads all blobs of an epoch."""
        path = self._current_db_name = db_name(epoch, self._node_name, self._db_prefix, path_prefix)
        logger.info("Loading checkpoints from = %s", path)
        names = self.blob_list()
        return self._timed_task("checkpoint_load", lambda: self._add_load(names, path, path_type, keep_device=True))

    def load_blobs_from_checkpoint(self, blob_names: Sequence[str], epoch: int) -> Task:
        """A task that loads some blobs of an epoch, those that the file has."""
        path = self._current_db_name = db_name(epoch, self._node_name, self._db_prefix)
        logger.info("Load from %s", path)
        names = list(blob_names)
        return self._timed_task(
            "checkpoint_partial_load", lambda: self._add_load(names, path, allow_incomplete=True)
        )  # fmt: skip

    def check_db_exists(self, epoch: int) -> Task:
        """A task whose output says whether an epoch was saved."""
        path = db_name(epoch, self._node_name, self._db_prefix)
        with Task() as task:
            existence = ops.Const(False)
            ops.DBExists([], [existence], db_name=path, db_type=self._db_type, absolute_path=True)
            task.add_output(existence)
        return task

    def save(self, epoch: int) -> Task:
        """A task that saves the blobs."""
        path = self._current_db_name = db_name(epoch, self._node_name, self._db_prefix)
        logger.info("Saving to %s", path)
        names = self.blob_list()
        return self._timed_task(
            "checkpoint_save",
            lambda: ops.Save(names, [], db=path, db_type=self._db_type, absolute_path=True),
        )

    def set_params(self, nodes: Sequence[Any], path_prefix: str | None = None, path_type: str | None = None) -> None:
        """Tell the handler where files are."""
        self._set_params([str(self._node_name)], path_prefix, path_type)


class MultiNodeCheckpointManager(_Metadata):
    """A ``CheckpointManager`` for each node; its methods give groups of their tasks."""

    def __init__(self, db_prefix: str, db_type: str, metadata_handler: Any = None) -> None:
        self._node_managers: list[tuple[Any, CheckpointManager]] | None = None
        self._db_prefix, self._db_type, self._metadata_handler = db_prefix, db_type, metadata_handler

    def _managers(self) -> list[tuple[Any, CheckpointManager]]:
        if self._node_managers is None:
            raise AssertionError("init must be called first.")
        return self._node_managers

    def _task_group(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> TaskGroup:
        with TaskGroup(WorkspaceType.GLOBAL) as group:
            for node, manager in self._managers():
                with Node(node):
                    function(manager, *args, **kwargs)
        return group

    def _make_managers(self, nodes: Sequence[Any]) -> bool:
        """Make the managers; False where they exist, for the same nodes."""
        if self._node_managers is not None:
            if [node for node, _ in self._node_managers] != list(nodes):
                raise AssertionError(f"the manager was made for other nodes than {nodes}")
            return False
        self._node_managers = []
        for node in nodes:
            with Node(node):
                self._node_managers.append((node, CheckpointManager(self._db_prefix, str(node), self._db_type)))
        return True

    def init(
        self,
        nodes: Sequence[Any],
        retrieve_from_epoch: int | None = None,
        path_prefix: str | None = None,
        path_type: str | None = None,
    ) -> TaskGroup:
        """A group that finds the names of the blobs on each node; an empty one the second time."""
        if not self._make_managers(nodes):
            return TaskGroup(WorkspaceType.GLOBAL)
        return self._task_group(
            CheckpointManager.init,
            nodes=[nodes[-1]],
            retrieve_from_epoch=retrieve_from_epoch,
            path_prefix=path_prefix,
            path_type=path_type,
        )

    def load(self, epoch: int, path_prefix: str | None = None, path_type: str | None = None) -> TaskGroup:
        """A group that loads all blobs of an epoch."""
        return self._task_group(CheckpointManager.load, epoch, path_prefix=path_prefix, path_type=path_type)

    def load_blobs_locally(self, nodes: Sequence[Any], blob_names: Sequence[str], epoch: int, session: Any) -> bool:
        """Load some blobs of all nodes' files into a session; False where a file does not exist."""
        self._make_managers(nodes)
        for _, manager in self._managers():
            task = manager.check_db_exists(epoch)
            session.run(task)
            if not task.outputs()[0].fetch():
                logger.info("DB %s does not exist!", db_name(epoch, manager._node_name, manager._db_prefix))
                return False
            session.run(manager.load_blobs_from_checkpoint(blob_names, epoch))
        return True

    def get_ckpt_db_name(self, node_name: str, epoch: int) -> str | None:
        """The path of a node's file; None for a node that it does not have."""
        for node, manager in self._managers():
            if str(node) == node_name:
                return db_name(epoch, manager._node_name, manager._db_prefix)
        return None

    def collect_checkpoint_stats(self, stats: dict[str, Any]) -> None:
        """Add the times of all nodes."""
        for _, manager in self._managers():
            manager.collect_checkpoint_stats(stats)

    def save(self, epoch: int) -> TaskGroup:
        """A group that saves the blobs of all nodes."""
        return self._task_group(CheckpointManager.save, epoch)

    def set_params(self, nodes: Sequence[Any], path_prefix: str | None = None, path_type: str | None = None) -> None:
        """Tell the handler where files are."""
        self._node_names = [str(node) for node in nodes]
        self._set_params(self._node_names, path_prefix, path_type)


class UploadTaskGroupBuilder:
    """What makes a group of tasks that takes the files of the last epoch elsewhere."""

    def build(self, epoch: int, checkpoint_manager: Any) -> TaskGroup:
        """The group."""
        raise NotImplementedError


class JobRunner:
    """Runs a job. resume_from_epoch: an epoch that was saved, to go on from; the ``init_group`` is not run then."""

    def __init__(
        self,
        job: Job,
        checkpoint_manager: Any = None,
        resume_from_epoch: int | None = None,
        upload_task_group_builder: UploadTaskGroupBuilder | None = None,
    ) -> None:
        self.resume_from_epoch = resume_from_epoch
        self.checkpoint_manager = checkpoint_manager
        self.job = job
        self.upload_task_group_builder = upload_task_group_builder

    def train(self, session: Any) -> int:
        """Run the job in a session; the number of the last epoch."""
        manager = self.checkpoint_manager
        if manager is not None:
            manager.set_params(nodes=self.job.nodes_to_checkpoint())
            self.resume_from_epoch = manager.get_resume_from_epoch_id(self.resume_from_epoch)
        start = self.resume_from_epoch
        if start is None:
            session.run(self.job.init_group)
        if manager is not None:
            session.run(manager.init(self.job.nodes_to_checkpoint(), retrieve_from_epoch=start))
        if manager is not None and start is None:
            self.save_checkpoints(0, session)
        elif manager is not None:
            logger.info("Loading checkpoints for epoch %s ...", start)
            session.run(manager.load(start))
            manager.report_checkpoint_stats("checkpoint_load")
        epoch = self._epochs(session, 1 if start is None else start + 1)
        if self.upload_task_group_builder is not None:
            session.run(self.upload_task_group_builder.build(epoch, manager))
        session.run(self.job.download_group)
        session.run(self.job.exit_group)
        return epoch

    def _epochs(self, session: Any, epoch: int) -> int:
        """Run epochs, from this one on, until a stop condition is true; the last one."""
        while True:
            logger.info("Starting epoch %d", epoch)
            session.run(self.job.epoch_group)
            stops = [output.fetch() for output in self.job.stop_conditions]
            if self.checkpoint_manager is not None:
                self.save_checkpoints(epoch, session)
            if any(stops):
                return epoch
            epoch += 1

    def load_blobs_from_checkpoints(self, blob_names: Sequence[str], epoch: int, session: Any) -> bool:
        """Load some blobs of an epoch; raises ``ValueError`` without a manager."""
        manager = self._manager()
        found = bool(manager.load_blobs_locally(self.job.nodes_to_checkpoint(), blob_names, epoch, session))
        manager.report_checkpoint_stats("checkpoint_partial_load")
        return found

    def save_checkpoints(self, epoch: int, session: Any) -> None:
        """Save the blobs. A failure is logged, and does not end the job. Raises ``ValueError`` without a manager."""
        manager = self._manager()
        try:
            if not manager.cp_accessible(epoch=None):
                logger.warning("Checkpoint files cannot be accessed!")
                return
            session.run(manager.save(epoch))
            manager.write_checkpoint_metadata(epoch)
            manager.report_checkpoint_stats("checkpoint_save")
        except Exception as error:
            logger.warning("Unable to write checkpoint for epoch %s. Error=%s", epoch, error)

    def _manager(self) -> Any:
        if self.checkpoint_manager is None:
            raise ValueError("Checkpoint manager is None")
        return self.checkpoint_manager


def epoch_limiter(job: Job, num_epochs: int) -> None:
    """Let a job end after so many epochs."""
    with job.init_group:
        init_net = core.Net("epoch_counter_init")
        counter = init_net.CreateCounter([], init_count=num_epochs - 1)
        Task(step=init_net)
    with job.epoch_group:
        epoch_net = core.Net("epoch_countdown")
        finished = epoch_net.CountDown(counter)
        output = Task(step=epoch_net, outputs=finished).outputs()[0]
    job.add_stop_condition(output)
