//! The points of an operation, by their names, and the selection of those that a run takes.

use crate::common::is_deep;

/// What stands for the commit in the names of points: it changes from run to run.
pub(super) const COMMIT: &str = "COMMIT";

/// `make test` takes one in so many writes of the registry.
const WRITE_SAMPLE: usize = 16;

/// `make test` takes one in so many of the other points.
const POINT_SAMPLE: usize = 5;

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

/// Returns the points that a run takes: all in a deep run, else a sample that is spread over the operation.
pub(super) fn sample<'a>(
    points: impl Iterator<Item = &'a String>,
) -> impl Iterator<Item = (usize, &'a String)> {
    let deep = is_deep();
    let every = |point: &str| if is_write(point) { WRITE_SAMPLE } else { POINT_SAMPLE };
    points.enumerate().filter(move |(n, point)| deep || n.is_multiple_of(every(point)))
}
