//! The operations that are walked through.

use std::process::Output;

use super::walk::Walk;
use crate::common::podman::TestPodman;
use crate::common::succeed;

/// How a taskspace is, in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Running,
    Stopped,
    Gone,
    Failed,
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// How the taskspace is before.
    pub(super) before: End,
    /// How it is afterwards.
    pub(super) after: End,
    /// What somebody does while no service runs.
    pub(super) meanwhile: fn(&Walk),
    /// What is asked for.
    pub(super) ask: fn(&Walk) -> Output,
    /// A step that always fails.
    pub(super) failing: Option<&'static str>,
    /// Whether what is in it, while it runs, is what may be.
    pub(super) is_whole: fn(&Walk) -> Result<(), String>,
}

pub(super) const CREATE: Case = Case {
    name: "create",
    before: End::Gone,
    after: End::Running,
    meanwhile: nothing,
    ask: |walk| walk.create(&[]),
    failing: None,
    is_whole: |_| Ok(()),
};

/// The first taskspace of a commit, whose base has to be made.
pub(super) const CREATE_WITH_BASE: Case =
    Case { name: "create with base", meanwhile: Walk::commit_anew, ..CREATE };

/// A creation that fails in the end, and is taken back.
pub(super) const CREATE_IN_VAIN: Case = Case {
    name: "create in vain",
    after: End::Gone,
    failing: Some("create: wait for the dev container's sshd: fail#1"),
    ..CREATE_WITH_BASE
};

pub(super) const KEEP: Case = Case {
    name: "create --keep-on-failure",
    ask: |walk| walk.create(&["--keep-on-failure"]),
    ..CREATE
};

pub(super) const START: Case = Case {
    name: "start",
    before: End::Stopped,
    after: End::Running,
    ask: |walk| walk.run(&["start"]),
    ..CREATE
};

pub(super) const STOP: Case = Case {
    name: "stop",
    before: End::Running,
    after: End::Stopped,
    ask: |walk| walk.run(&["stop"]),
    ..CREATE
};

pub(super) const RESTART: Case = Case {
    name: "restart",
    before: End::Running,
    after: End::Running,
    ask: |walk| walk.run(&["restart"]),
    ..CREATE
};

pub(super) const DELETE: Case = Case {
    name: "delete",
    before: End::Running,
    after: End::Gone,
    ask: |walk| walk.run(&["delete", "--force", "--purge"]),
    ..CREATE
};

/// The agent's state stays, so that the next taskspace must have another id.
pub(super) const DELETE_AND_KEEP: Case =
    Case { name: "delete, state kept", ask: |walk| walk.run(&["delete", "--force"]), ..DELETE };

/// The last taskspace on a commit that is no longer the newest one: its base goes with it.
pub(super) const DELETE_OLD: Case = Case {
    name: "delete with base",
    meanwhile: |walk| {
        walk.commit_anew();
        let newer = "w-newer";
        walk.user.run(&["create", "--project", walk.repository.as_str(), newer]);
        walk.user.run(&["delete", "--force", "--purge", newer]);
        walk.end_service();
    },
    ..DELETE
};

pub(super) const PROMOTE: Case = Case {
    name: "promote",
    before: End::Running,
    after: End::Running,
    ask: |walk| walk.run(&["cache", "promote"]),
    ..CREATE
};

pub(super) const SNAPSHOT: Case = Case {
    name: "snapshot",
    before: End::Running,
    after: End::Running,
    ask: |walk| walk.run(&["snapshot", "--agent-state"]),
    ..CREATE
};

/// Of two files one is removed after the snapshot, and another one made.
pub(super) const RESTORE: Case = Case {
    name: "restore",
    before: End::Running,
    after: End::Running,
    meanwhile: |walk| {
        walk.bring_snapshot();
        walk.dev("cd /workspace && rm -f kept new && touch other");
        walk.end_service();
    },
    ask: |walk| walk.user.taskspace(&["restore", "--force", &walk.id(), "s"]).output().unwrap(),
    is_whole: |walk| match walk.dev("cd /workspace && ls kept new other 2> /dev/null || true") {
        now if now == "other\n" => Ok(()),
        then if then == "kept\nnew\n" => Ok(()),
        half => Err(format!("it has {half:?}")),
    },
    ..CREATE
};

pub(super) const PUBLISH: Case = Case {
    name: "publish",
    before: End::Running,
    after: End::Running,
    meanwhile: |walk| walk.publish(false),
    ask: |walk| walk.user.taskspace(&["port", &walk.id(), "3000"]).output().unwrap(),
    ..CREATE
};

pub(super) const CLOSE: Case = Case {
    name: "close",
    meanwhile: |walk| walk.publish(true),
    ask: |walk| walk.user.taskspace(&["port", &walk.id(), "3000", "--close"]).output().unwrap(),
    ..PUBLISH
};

/// What was published goes with it.
pub(super) const DELETE_PUBLISHED: Case =
    Case { name: "delete with ports", meanwhile: |walk| walk.publish(true), ..DELETE };

/// A base, an agent's state and what belongs to nothing are out of use.
pub(super) const COLLECT: Case = Case {
    name: "gc",
    before: End::Running,
    after: End::Running,
    meanwhile: Walk::leave_litter,
    ask: |walk| walk.user.taskspace(&["gc"]).output().unwrap(),
    ..CREATE
};

/// A taskspace that begins where another one is.
pub(super) const FORK: Case = Case {
    name: "fork",
    meanwhile: Walk::bring_original,
    ask: |walk| walk.run(&["fork", &walk.original()]),
    ..CREATE
};

/// Somebody removed the pod of a taskspace that is stopped.
pub(super) const REBUILD: Case = Case {
    name: "rebuild",
    meanwhile: |walk| {
        podman(&["pod", "rm", "--force", &walk.pod()]);
    },
    ..START
};

/// Somebody killed a container while the service did not run.
pub(super) const RECOVER: Case = Case {
    name: "recover",
    before: End::Running,
    after: End::Running,
    meanwhile: |walk| {
        podman(&["kill", &format!("{}-dev", walk.pod())]);
    },
    ask: Walk::await_recovery,
    ..CREATE
};

/// Somebody removed a container while the service did not run.
pub(super) const RECOVER_REMOVED: Case = Case {
    name: "recover a removed container",
    meanwhile: |walk| {
        podman(&["rm", "--force", &format!("{}-agent", walk.pod())]);
    },
    ..RECOVER
};

fn nothing(_: &Walk) {}

fn podman(arguments: &[&str]) -> String {
    succeed(TestPodman::shared().command().args(arguments))
}
