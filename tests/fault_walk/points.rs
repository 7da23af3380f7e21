//! The points of an operation, by their names, and which of them a run takes.

/// What stands for the commit in the names of points: it changes from run to run.
pub(super) const COMMIT: &str = "COMMIT";

/// Of the writes of the registry, the share that is taken in `make test`.
const SAMPLE: usize = 5;

/// What a service writes when it starts.
pub(super) const FIRST_WRITE: &str = "registry: write: fail#1";

/// Whether a point is one at which a step may fail, not one at which the service may be killed.
pub(super) fn is_step(point: &str) -> bool {
    point.contains(": fail#")
}

/// Whether a point is a write of the registry.
pub(super) fn is_write(point: &str) -> bool {
    point.starts_with("registry: write: ")
}

/// Whether a point is taken in this run.
pub(super) fn is_taken(n: usize, point: &str) -> bool {
    let all = std::env::var("TASKSPACE_FAULT_WALK").is_ok_and(|value| value == "all");
    all || !is_write(point) || n.is_multiple_of(SAMPLE)
}
