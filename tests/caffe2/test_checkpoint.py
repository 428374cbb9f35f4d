"""Jobs that are saved after each epoch and go on from any: with the same end as those that are not interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.caffe2 import core, workspace
from graphc.caffe2.checkpoint import (
    CheckpointManager,
    Job,
    JobRunner,
    MultiNodeCheckpointManager,
    UploadTaskGroupBuilder,
    db_name,
    epoch_limiter,
)
from graphc.caffe2.dataio import ReaderWithLimit
from graphc.caffe2.dataset import Dataset
from graphc.caffe2.net_builder import ops
from graphc.caffe2.pipeline import pipe
from graphc.caffe2.schema import ConstRecord, Struct
from graphc.caffe2.session import LocalSession
from graphc.caffe2.task import Cluster, Node, Task, TaskGroup, WorkspaceType

TOTALS = [103, 115, 136, 145]
"""100 and the sum of 0 ... 9, three numbers an epoch."""


def build(node: int = 0) -> core.BlobReference:
    """Adds numbers of a data set to a total, three in each epoch, until there are no more."""
    with Node(f"trainer_{node}"):
        with Job.current().init_group, Task():
            data = ConstRecord(ops, Struct(("val", np.arange(10))))
            reader = Dataset(data, name=f"dataset:{node}").reader(ops)
            total = ops.Const([100])

        def add(record: Struct) -> None:
            ops.Add([total, record.val()], [total])

        epoch = ReaderWithLimit(reader, num_iter=3)
        pipe(epoch, processor=add)
        Job.current().add_stop_condition(epoch.data_finished())
    return total


def total_of(session: LocalSession, fetch: Task) -> int:
    session.run(fetch)
    return int(fetch.outputs()[0].fetch()[0])


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_resuming_from_any_epoch(tmp_path: Path, kind: str) -> None:
    def begin() -> tuple[LocalSession, object]:
        session = LocalSession(workspace.C.Workspace())
        if kind == "single":
            return session, CheckpointManager(str(tmp_path), "node", "minidb")
        return session, MultiNodeCheckpointManager(str(tmp_path), "minidb")

    with Cluster():
        with Job() as job:
            total = build()
        fetch = Task(step=core.Net("empty"), outputs=[total])
        session, manager = begin()
        job.compile(LocalSession)
        assert JobRunner(job, manager).train(session) == 4
        assert total_of(session, fetch) == TOTALS[-1]
        for epoch in (1, 3, 4):
            session, manager = begin()
            JobRunner(job, manager, resume_from_epoch=epoch).train(session)
            assert total_of(session, fetch) == TOTALS[-1]
        for epoch, want in enumerate(TOTALS, start=1):
            session.run(manager.load(epoch))
            assert total_of(session, fetch) == want


class Upload(UploadTaskGroupBuilder):
    """Notes the files that would be taken elsewhere."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def build(self, epoch: int, checkpoint_manager: MultiNodeCheckpointManager) -> TaskGroup:
        self.paths = [checkpoint_manager.get_ckpt_db_name(str(n), epoch) for n, _ in checkpoint_manager._managers()]
        return TaskGroup(WorkspaceType.GLOBAL)


def test_files_of_several_nodes(tmp_path: Path) -> None:
    manager, upload, times = MultiNodeCheckpointManager(str(tmp_path), "minidb", Times()), Upload(), []
    with Cluster():
        with Job() as job:
            totals = [build(node) for node in range(2)]
        assert job.nodes_to_checkpoint() == ["trainer_0", "trainer_1"]
        job.compile(LocalSession)
        session = LocalSession(workspace.C.Workspace())
        runner = JobRunner(job, manager, upload_task_group_builder=upload)
        assert runner.train(session) == 4
        assert upload.paths == [db_name(4, f"trainer_{i}", str(tmp_path)) for i in range(2)]
        assert all(Path(path).exists() for path in upload.paths)
        times = manager._metadata_handler.epochs
        assert times == [0, 1, 2, 3, 4]
        fresh = workspace.C.Workspace()
        assert runner.load_blobs_from_checkpoints([str(t) for t in totals], 2, LocalSession(fresh)) is True
        assert [fresh.fetch_blob(t).tolist() for t in totals] == [[TOTALS[1]]] * 2
        assert runner.load_blobs_from_checkpoints([str(totals[0])], 9, LocalSession(fresh)) is False


class Times:
    """A metadata handler: it remembers epochs."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_params(self, **kwargs: object) -> None:
        assert kwargs["node_names"] == ["trainer_0", "trainer_1"]

    def last_epoch(self, user_epoch: int | None) -> int | None:
        return user_epoch

    def cp_accessible(self, epoch: int | None) -> bool:
        return True

    def write(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def report(self, action: str, stats: dict[str, int]) -> None:
        assert action in ("checkpoint_save", "checkpoint_partial_load")
        assert all(nanoseconds > 0 for nanoseconds in stats.values())


def test_a_job_goes_on_where_nothing_can_be_saved(tmp_path: Path) -> None:
    with Cluster():
        with Job() as job:
            build()
        job.compile(LocalSession)
        manager = CheckpointManager(str(tmp_path / "missing" / "folder"), "node", "minidb")
        assert JobRunner(job, manager).train(LocalSession(workspace.C.Workspace())) == 4


def test_groups_of_a_job() -> None:
    init, net, download = core.Net("init"), core.Net("net"), core.Net("download")
    for name in ("a", "b", "sum", "result"):
        init.ConstantFill([], name, shape=[2], value=1.0)
    net.Add(["a", "b"], "sum")
    download.Copy("sum", "result")
    with Job() as job:
        with job.init_group:
            Task(step=init)
        with job.epoch_group:
            Task(step=net)
        with job.download_group:
            Task(step=download)
        epoch_limiter(job, 2)
    assert JobRunner(job).train(LocalSession()) == 2
    assert workspace.FetchBlob("result").tolist() == [2, 2]
    with pytest.raises(ValueError, match="manager is None"):
        JobRunner(job).save_checkpoints(1, LocalSession())
