//! Gives ports of the host's loopback to taskspaces, and takes them back, under the registry's lock.

use std::collections::HashSet;
use std::net::TcpListener;
use std::ops::RangeInclusive;

use jiff::Timestamp;

use super::super::{Inner, problems};
use crate::config::settings::PortSettings;
use crate::host::ports;
use crate::model::{Code, Document, Ports, Problem, TaskspaceId};

/// Picks the two ports of a taskspace's sshds, which no taskspace has and no program listens on. Another
/// program may be quicker: whoever starts the pod must be ready to pick again.
pub(in crate::engine) fn pick_ports(
    document: &mut Document,
    settings: &PortSettings,
) -> Result<Ports, Problem> {
    let (dev, _) = pick(document, &settings.dev, settings)?;
    let (agent, _) = pick(document, &settings.agent, settings)?;
    Ok(Ports { dev, agent })
}

/// Picks a port of a range that no taskspace has and no program listens on, and returns what holds it.
pub(super) fn pick(
    document: &mut Document,
    range: &RangeInclusive<u16>,
    settings: &PortSettings,
) -> Result<(u16, Vec<TcpListener>), Problem> {
    document.resting_ports.wake(Timestamp::now(), settings.rest);
    let taken: HashSet<u16> =
        document.taskspaces.values().flat_map(|record| record.host_ports()).collect();
    let last = document.resting_ports.longest_first();
    let is_taken = |port| taken.contains(&port);
    let picked = ports::pick(range.clone(), &is_taken, &last, &mut rand::rng());
    let picked = picked.ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        let detail = format!("no port between {first} and {last} is free");
        Problem::new(Code::NetworkPortUnavailable, detail)
            .hint("delete taskspaces, or set wider ranges in settings.yaml (`ports`)")
    })?;
    document.resting_ports.take(picked.0);
    Ok(picked)
}

/// Has ports rest that nobody has any more.
pub(in crate::engine) fn let_rest(
    document: &mut Document,
    ports: impl IntoIterator<Item = u16>,
    settings: &PortSettings,
) {
    let now = Timestamp::now();
    document.resting_ports.wake(now, settings.rest);
    document.resting_ports.add(ports, now);
}

impl Inner {
    /// Gives a taskspace's sshds other ports: another program has one of its own.
    pub(in crate::engine) async fn give_new_ports(&self, id: &TaskspaceId) -> Result<(), Problem> {
        let (id, settings) = (id.clone(), self.settings());
        let given = self.registry.update(move |document| {
            let picked = pick_ports(document, &settings.ports)?;
            let record =
                document.taskspaces.get_mut(&id).ok_or_else(|| problems::not_found(&id))?;
            let Ports { dev, agent } = record.ports();
            (record.dev_port, record.agent_port) = (picked.dev, picked.agent);
            let_rest(document, [dev, agent], &settings.ports);
            Ok(())
        });
        given.await.map_err(problems::registry)?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::*;
    use crate::model::Record;

    fn settings(dev: RangeInclusive<u16>, agent: RangeInclusive<u16>) -> PortSettings {
        PortSettings { dev, agent, rest: Duration::from_secs(600) }
    }

    #[test]
    fn a_port_that_rests_is_given_only_when_no_other_is_left() {
        let settings = settings(28_120..=28_122, 28_123..=28_124);
        let mut document = Document::new(Uuid::nil());
        let taken = Record { dev_port: 28_120, agent_port: 28_123, ..Record::example() };
        document.taskspaces.insert("a".parse().unwrap(), taken.into());
        let_rest(&mut document, [28_121], &settings);
        let range = settings.dev.clone();
        assert_eq!(pick(&mut document, &range, &settings).unwrap().0, 28_122);
        // One that has rested for long goes before one that has just begun.
        let long_ago = Timestamp::now() - SignedDuration::from_secs(60);
        document.resting_ports.add([28_122], long_ago);
        assert_eq!(pick(&mut document, &range, &settings).unwrap().0, 28_122);
        assert_eq!(document.resting_ports.longest_first(), [28_121]);
        document.resting_ports.add([28_121], long_ago - SignedDuration::from_secs(600));
        pick(&mut document, &range, &settings).unwrap();
        // It has rested: nobody need remember it.
        assert!(document.resting_ports.is_empty());
    }

    #[test]
    fn an_exhausted_range_is_told_with_its_ends() {
        let settings = settings(28_125..=28_125, 28_126..=28_126);
        let mut document = Document::new(Uuid::nil());
        let taken = Record { dev_port: 28_125, agent_port: 28_126, ..Record::example() };
        document.taskspaces.insert("a".parse().unwrap(), taken.into());
        let problem = pick_ports(&mut document, &settings).unwrap_err();
        assert_eq!(problem.code, Code::NetworkPortUnavailable);
        assert!(problem.detail.contains("between 28125 and 28125"), "{problem}");
    }
}
