//! The walk: the service is killed at every point of every operation, and every step is made to fail.
//! Afterwards the taskspace is whole or gone, and everything agrees with the registry.
//!
//! A run without faults tells the points. `make fault-walk` takes all of them and prints the table, as
//! does `make test-deep`; `make test` takes a sample.

mod cases;
mod judge;
mod points;
mod service;
mod walk;

use cases::{
    CLOSE, COLLECT, CREATE, CREATE_IN_VAIN, CREATE_WITH_BASE, Case, DELETE, DELETE_AND_KEEP,
    DELETE_OLD, DELETE_PUBLISHED, FORK, KEEP, PROMOTE, PUBLISH, REBUILD, RECOVER, RECOVER_REMOVED,
    RESTART, RESTORE, SNAPSHOT, START, STOP,
};
use points::{FIRST_WRITE, is_step, is_write, sample};
use walk::Walk;

/// Walks over all points of an operation; with `part` of `parts` over some of them.
fn kill_everywhere(walk: &Walk, case: Case, part: usize, parts: usize) {
    let points = walk.points(case);
    let kills = points.iter().filter(|point| !is_step(point));
    for (n, point) in sample(kills) {
        if n % parts == part {
            walk.kill(case, point);
        }
    }
}

/// Makes every step of an operation fail; with `part` of `parts` some of them.
fn fail_everywhere(walk: &Walk, case: Case, part: usize, parts: usize) {
    let points = walk.points(case);
    // Where something is missing beforehand, it stays so when the service cannot even begin, or
    // cannot record that it is to be mended.
    let unheard = |point: &str| match case.name {
        "rebuild" => is_write(point),
        name => name.starts_with("recover") && point == FIRST_WRITE,
    };
    let fails = points.iter().filter(|point| is_step(point) && !unheard(point));
    for (n, point) in sample(fails) {
        if n % parts == part {
            walk.fail(case, point, n / parts);
        }
    }
}

#[test]
fn a_creation_is_killed() {
    let walk = Walk::new("w-create");
    kill_everywhere(&walk, CREATE, 0, 2);
    walk.finish();
}

#[test]
fn a_creation_is_killed_at_other_points() {
    let walk = Walk::new("w-other");
    kill_everywhere(&walk, CREATE, 1, 2);
    walk.finish();
}

#[test]
fn a_creation_with_a_base_is_killed() {
    let walk = Walk::new("w-base");
    let points = walk.points(CREATE_WITH_BASE);
    for (_, point) in sample(points.iter().filter(|point| point.starts_with("base: "))) {
        walk.kill(CREATE_WITH_BASE, point);
    }
    walk.finish();
}

#[test]
fn the_removal_of_a_base_is_killed() {
    let walk = Walk::new("w-old");
    let points = walk.points(DELETE_OLD);
    let late = points.iter().skip_while(|point| !point.starts_with("forget: "));
    for (_, point) in sample(late.filter(|point| !is_step(point))) {
        walk.kill(DELETE_OLD, point);
    }
    walk.finish();
}

#[test]
fn a_creation_is_killed_while_it_is_taken_back() {
    let walk = Walk::new("w-vain");
    let points = walk.points(CREATE_IN_VAIN);
    let undo = points.iter().filter(|point| point.contains("undo ") || point.starts_with("forget"));
    for (_, point) in sample(undo) {
        walk.kill(CREATE_IN_VAIN, point);
    }
    walk.finish();
}

#[test]
fn starts_and_stops_are_killed() {
    let walk = Walk::new("w-start");
    kill_everywhere(&walk, START, 0, 1);
    kill_everywhere(&walk, STOP, 0, 1);
    kill_everywhere(&walk, RESTART, 0, 1);
    walk.finish();
}

#[test]
fn removals_are_killed() {
    let walk = Walk::new("w-delete");
    kill_everywhere(&walk, DELETE, 0, 1);
    kill_everywhere(&walk, DELETE_AND_KEEP, 0, 1);
    walk.finish();
}

#[test]
fn repairs_are_killed() {
    let walk = Walk::new("w-repair");
    // Without those at which nobody has heard yet that it is to be started.
    let points = walk.points(REBUILD);
    let rebuild = points.iter().filter(|point| point.starts_with("rebuild: "));
    for (_, point) in sample(rebuild.filter(|point| !is_step(point))) {
        walk.kill(REBUILD, point);
    }
    walk.finish();
}

#[test]
fn recoveries_are_killed() {
    let walk = Walk::new("w-recover");
    kill_everywhere(&walk, RECOVER, 0, 1);
    kill_everywhere(&walk, RECOVER_REMOVED, 0, 1);
    walk.finish();
}

#[test]
fn forks_are_killed() {
    let walk = Walk::new("w-fork");
    kill_everywhere(&walk, FORK, 0, 1);
    walk.finish();
}

#[test]
fn promotions_of_caches_are_killed() {
    let walk = Walk::new("w-promote");
    kill_everywhere(&walk, PROMOTE, 0, 1);
    walk.finish();
}

#[test]
fn publications_are_killed() {
    let walk = Walk::new("w-ports");
    kill_everywhere(&walk, PUBLISH, 0, 1);
    kill_everywhere(&walk, CLOSE, 0, 1);
    kill_everywhere(&walk, DELETE_PUBLISHED, 0, 3);
    walk.finish();
}

#[test]
fn snapshots_are_killed() {
    let walk = Walk::new("w-snap");
    kill_everywhere(&walk, SNAPSHOT, 0, 1);
    walk.finish();
}

#[test]
fn restorations_are_killed() {
    let walk = Walk::new("w-restore");
    kill_everywhere(&walk, RESTORE, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_snapshots_and_restorations_fail() {
    let walk = Walk::new("w-back");
    for case in [SNAPSHOT, RESTORE] {
        fail_everywhere(&walk, case, 0, 1);
    }
    walk.finish();
}

#[test]
fn collections_are_killed() {
    let walk = Walk::new("w-collect");
    kill_everywhere(&walk, COLLECT, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_a_creation_fail() {
    let walk = Walk::new("w-fails");
    fail_everywhere(&walk, CREATE, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_a_creation_fail_and_what_was_made_is_kept() {
    let walk = Walk::new("w-keep");
    fail_everywhere(&walk, KEEP, 0, 1);
    walk.finish();
}

#[test]
fn steps_of_forks_and_promotions_fail() {
    let walk = Walk::new("w-copies");
    for case in [FORK, PROMOTE] {
        fail_everywhere(&walk, case, 0, 1);
    }
    walk.finish();
}

#[test]
fn steps_of_other_operations_fail() {
    let walk = Walk::new("w-steps");
    for case in [START, STOP, DELETE, DELETE_AND_KEEP, REBUILD, RECOVER, RECOVER_REMOVED] {
        fail_everywhere(&walk, case, 0, 1);
    }
    walk.finish();
}
