//! How the service does, in numbers for Prometheus.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Engine;
use crate::model::{ContainerState, CoordinationView, Operation, OperationState, Status};

/// One label and its value.
type Label = [(&'static str, String); 1];

/// Kind and outcome of operations.
type Labels = [(&'static str, String); 2];

/// What is counted and measured.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    ended: Family<Labels, Counter>,
    waited: Histogram,
    taskspaces: Family<Label, Gauge>,
    containers: Family<Label, Gauge>,
    operations: Family<Label, Gauge>,
    locks: Gauge,
    today: Family<Label, Gauge>,
    clients: Gauge,
    storage_looks: Counter,
    storage_measurements: Counter,
    network_refusals: Counter,
}

impl Metrics {
    /// Begins to count.
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("taskspace"),
            ended: Family::default(),
            // From 10 ms to the longest that anybody is usually let wait.
            waited: Histogram::new(exponential_buckets(0.01, 4.0, 9)),
            taskspaces: Family::default(),
            containers: Family::default(),
            operations: Family::default(),
            locks: Gauge::default(),
            today: Family::default(),
            clients: Gauge::default(),
            storage_looks: Counter::default(),
            storage_measurements: Counter::default(),
            network_refusals: Counter::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "operations_ended",
            "Operations that are over, since the service started",
            self.ended.clone(),
        );
        registry.register_with_unit(
            "operation_wait",
            "For how long operations have waited until they began",
            Unit::Seconds,
            self.waited.clone(),
        );
        registry.register("taskspaces", "Taskspaces", self.taskspaces.clone());
        registry.register(
            "registered_containers",
            "Registered containers and services",
            self.containers.clone(),
        );
        registry.register(
            "operations",
            "Operations that wait and that run",
            self.operations.clone(),
        );
        registry.register("locks", "What is held", self.locks.clone());
        registry.register("operations_today", "Operations of today", self.today.clone());
        registry.register(
            "storage_looks",
            "Looks at whether taskspaces may have written something",
            self.storage_looks.clone(),
        );
        registry.register(
            "storage_measurements",
            "Measurements of what a taskspace has written",
            self.storage_measurements.clone(),
        );
        registry.register(
            "network_refusals",
            "What taskspaces were refused by their network policies",
            self.network_refusals.clone(),
        );
        registry.register("clients", "Clients that are connected", self.clients.clone());
        self
    }

    /// Counts an operation that has begun.
    pub(super) fn begun(&self, operation: &Operation) {
        if let Some(started) = operation.started {
            self.waited.observe(started.duration_since(operation.created).as_secs_f64().max(0.0));
        }
    }

    /// Counts an operation that is over.
    pub(super) fn ended(&self, operation: &Operation) {
        let labels = [("kind", operation.kind.to_string()), ("state", operation.state.to_string())];
        self.ended.get_or_create(&labels).inc();
    }

    /// Counts a look at whether taskspaces may have written something.
    pub(super) fn looked_at_storage(&self) {
        self.storage_looks.inc();
    }

    /// Counts a measurement of what a taskspace has written.
    pub(super) fn measured_storage(&self) {
        self.storage_measurements.inc();
    }

    /// Counts what a taskspace was refused.
    pub(super) fn refused(&self, times: u64) {
        self.network_refusals.inc_by(times);
    }

    fn look(&self, states: &[Status], containers: &[ContainerState], view: &CoordinationView) {
        count(&self.taskspaces, "status", Status::ALL, states);
        count(&self.containers, "state", ContainerState::ALL, containers);
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let operations =
            [(OperationState::Queued, view.queued), (OperationState::Running, view.active)];
        for (state, count) in operations {
            self.operations.get_or_create(&[("state", state.to_string())]).set(number(count));
        }
        self.locks.set(number(view.locks.len()));
        let today = &view.today;
        for (what, count) in [
            ("requested", today.requested),
            ("queued", today.queued),
            ("done", today.done),
            ("failed", today.failed),
            ("timed-out", today.timed_out),
            ("cancelled", today.cancelled),
            ("rejected", today.rejected),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.today.get_or_create(&[("outcome", what.to_owned())]).set(count);
        }
    }
}

/// Sets how many there are of each state, also where there are none: so that a graph has no gaps.
fn count<S: fmt::Display>(
    family: &Family<Label, Gauge>,
    label: &'static str,
    all: impl IntoIterator<Item = S>,
    found: &[S],
) {
    let mut counts: BTreeMap<String, i64> =
        all.into_iter().map(|state| (state.to_string(), 0)).collect();
    for state in found {
        *counts.entry(state.to_string()).or_default() += 1;
    }
    for (state, count) in counts {
        family.get_or_create(&[(label, state)]).set(count);
    }
}

impl Engine {
    /// Returns the metrics in the text format of OpenMetrics; `clients` are connected.
    pub async fn metrics(&self, clients: usize) -> String {
        let metrics = &self.inner.metrics;
        let document = self.inner.document().await;
        let states: Vec<Status> = document
            .map(|document| document.taskspaces.values().map(|record| record.status).collect())
            .unwrap_or_default();
        let containers = self.inner.containers.states();
        metrics.look(&states, &containers, &self.coordination());
        metrics.clients.set(i64::try_from(clients).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a String does not fail.
        encode(&mut text, &metrics.registry).ok();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OperationKind;

    #[test]
    fn what_is_counted_is_told_in_the_text_format() {
        let metrics = Metrics::new();
        let mut operation =
            Operation::new(1, OperationKind::Restart, "2026-01-01T00:00:00Z".parse().unwrap());
        operation.started = Some("2026-01-01T00:00:03Z".parse().unwrap());
        metrics.begun(&operation);
        operation.state = OperationState::TimedOut;
        metrics.ended(&operation);
        let view = CoordinationView { active: 2, queued: 1, ..CoordinationView::default() };
        metrics.look(&[Status::Running, Status::Running], &[ContainerState::Error], &view);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        for line in [
            "taskspace_operations_ended_total{kind=\"restart\",state=\"timed-out\"} 1",
            "taskspace_operation_wait_seconds_sum 3.0",
            "taskspace_taskspaces{status=\"running\"} 2",
            "taskspace_taskspaces{status=\"failed\"} 0",
            "taskspace_registered_containers{state=\"error\"} 1",
            "taskspace_operations{state=\"queued\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
