//! Publishes ports of taskspaces on the host's loopback.
//!
//! What is published is recorded, and comes back with the taskspace's network and with the service.

use std::io;
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::{Engine, Inner, problems};
use super::allot::{let_rest, pick};
use super::forwards::Forwards;
use super::stock::Pod;
use crate::config::settings::PortSettings;
use crate::fault;
use crate::host::ports;
use crate::model::{
    Code, Desired, Document, MAX_PUBLISHED, PortView, Problem, PublishRequest, PublishedPort,
    Record, Role, TaskspaceId,
};

impl Engine {
    /// Lists what of a taskspace is published.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn ports(&self, id: &TaskspaceId) -> Result<Vec<PortView>, Problem> {
        let record = self.inner.record(id).await?;
        Ok(record.published.iter().map(|published| self.inner.port_view(id, *published)).collect())
    }

    /// Publishes a port of a taskspace's pod; one that is published so already stays as it is.
    ///
    /// # Errors
    /// When there is none of this id, or the port cannot be published so.
    pub async fn publish_port(
        &self,
        id: &TaskspaceId,
        port: NonZero<u16>,
        request: PublishRequest,
    ) -> Result<PortView, Problem> {
        let inner = &self.inner;
        let _alone = inner.publishing.lock().await;
        let (wanted, settings) = (id.clone(), inner.settings());
        let entered = inner
            .registry
            .update(move |document| enter(document, &wanted, port, request.to, &settings.ports));
        let (published, listeners) = entered.await.map_err(problems::registry)??;
        fault::point(|| "publish: listen: before".to_owned());
        match (listeners, inner.open_network(id).await?) {
            (Some(listeners), Some(forwards)) => {
                forwards.open(published, listeners).map_err(problems::internal)?;
            }
            // It is published when the taskspace runs.
            (Some(_), None) => {}
            // It may be that another program had the port, and has it no more.
            (None, _) => inner.align(id).await?,
        }
        Ok(inner.port_view(id, published))
    }

    /// Ends the publication of a port, with the connections to it; returns how it was.
    ///
    /// # Errors
    /// When there is none of this id, or the port is not published.
    pub async fn close_port(
        &self,
        id: &TaskspaceId,
        port: NonZero<u16>,
    ) -> Result<PortView, Problem> {
        let inner = &self.inner;
        let _alone = inner.publishing.lock().await;
        let record = inner.record(id).await?;
        let published = record.published.iter().find(|published| published.port == port);
        let view = inner.port_view(id, *published.ok_or_else(|| not_published(id, port))?);
        let (wanted, settings) = (id.clone(), inner.settings());
        let removed =
            inner.registry.update(move |document| remove(document, &wanted, port, &settings.ports));
        removed.await.map_err(problems::registry)??;
        fault::point(|| "close: listen no more: before".to_owned());
        inner.align(id).await?;
        Ok(view)
    }
}

impl Inner {
    fn port_view(&self, id: &TaskspaceId, published: PublishedPort) -> PortView {
        let forwards = self.networks.forwards(id);
        let (open, problem) =
            forwards.map(|forwards| forwards.state_of(&published)).unwrap_or_default();
        PortView::new(published, open, problem)
    }

    /// Returns what forwards into the network of a taskspace that is up and not paused.
    async fn open_network(&self, id: &TaskspaceId) -> Result<Option<Arc<Forwards<Pod>>>, Problem> {
        let record = self.record(id).await?;
        Ok(self.networks.forwards(id).filter(|_| !record.is_frozen()))
    }

    /// Whether what is forwarded into a taskspace's network is not what is to be.
    pub(in crate::engine) fn ports_differ(&self, id: &TaskspaceId, record: &Record) -> bool {
        self.networks.forwards(id).is_some_and(|forwards| !forwards.are(to_be_open(record)))
    }

    /// Has the service listen on all ports at which a taskspace is published now, and on no others.
    ///
    /// # Errors
    /// When the registry cannot be used.
    pub(in crate::engine) async fn align_ports(&self, id: &TaskspaceId) -> Result<(), Problem> {
        let _alone = self.publishing.lock().await;
        self.align(id).await
    }

    async fn align(&self, id: &TaskspaceId) -> Result<(), Problem> {
        let Some(forwards) = self.networks.forwards(id) else { return Ok(()) };
        let record = self.record(id).await?;
        let wanted = to_be_open(&record);
        forwards.keep(wanted).await;
        for published in wanted {
            if forwards.state_of(published).0 {
                continue;
            }
            let listening = ports::listen(published.host_port)
                .and_then(|listeners| forwards.open(*published, listeners));
            let lacking = lacking(*published);
            match listening {
                Ok(()) if record.warnings.contains(&lacking) => {
                    self.change(id, move |record| {
                        record.warnings.retain(|warning| *warning != lacking);
                        Ok(())
                    })
                    .await?;
                }
                Ok(()) => {}
                Err(error) => {
                    forwards.note_trouble(*published, reason(&error));
                    if !record.warnings.contains(&lacking) {
                        self.note_warning(id, lacking).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns what is to be reached of a taskspace whose network is up: nobody answers while it is paused.
fn to_be_open(record: &Record) -> &[PublishedPort] {
    if record.is_frozen() { &[] } else { &record.published }
}

/// Says why nobody can listen on a port.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it".to_owned(),
        _ => error.to_string(),
    }
}

/// Says that a port is not published although it should be.
fn lacking(published: PublishedPort) -> String {
    let (port, address) = (published.port, published.address());
    format!(
        "port {port} is not published: the service cannot listen on {address}; that is tried again \
         until it can, or until the port is closed (`taskspace port … {port} --close`)"
    )
}

/// Enters a port as published. What holds the host's port is returned with it, unless it is published so
/// already.
fn enter(
    document: &mut Document,
    id: &TaskspaceId,
    port: NonZero<u16>,
    to: Option<NonZero<u16>>,
    settings: &PortSettings,
) -> Result<(PublishedPort, Option<Vec<TcpListener>>), Problem> {
    let record = document.taskspaces.get(id).ok_or_else(|| problems::not_found(id))?;
    if record.desired == Desired::Absent || record.is_half_made() {
        let detail = format!("'{id}' is {}", record.status);
        return Err(Problem::new(Code::StateConflict, detail));
    }
    if let Some(role) = Role::ALL.into_iter().find(|role| role.port() == port.get()) {
        let host_port = record.ports().of(role);
        let detail =
            format!("port {port} is the {role} container's sshd, at 127.0.0.1:{host_port}");
        return Err(Problem::new(Code::StateConflict, detail)
            .hint("it is published as long as the taskspace runs"));
    }
    if let Some(published) = record.published.iter().find(|it| it.port == port) {
        if to.is_none_or(|to| to.get() == published.host_port) {
            return Ok((*published, None));
        }
        let detail =
            format!("port {port} of '{id}' is published already, at {}", published.address());
        return Err(Problem::new(Code::StateConflict, detail)
            .hint(format!("end that first: `taskspace port {id} {port} --close`")));
    }
    if record.published.len() >= MAX_PUBLISHED {
        let detail = format!("{MAX_PUBLISHED} ports of '{id}' are published, and may not be more");
        return Err(Problem::new(Code::QuotaExceeded, detail)
            .hint(format!("`taskspace port {id}` lists them; end one with --close")));
    }
    let (host_port, listeners) = match to {
        None => pick(document, &settings.dev, settings)?,
        Some(to) => claim(document, to.get())?,
    };
    let published = PublishedPort { port, host_port };
    let record = document.taskspaces.get_mut(id).ok_or_else(|| problems::not_found(id))?;
    record.published.push(published);
    record.published.sort_unstable();
    record.last_updated = Timestamp::now();
    Ok((published, Some(listeners)))
}

/// Takes a port of the host that somebody has chosen, and returns what holds it.
fn claim(document: &mut Document, port: u16) -> Result<(u16, Vec<TcpListener>), Problem> {
    let taken = |by: String| {
        Problem::new(Code::NetworkPortUnavailable, format!("port {port} of this host is {by}"))
            .hint("choose another one, or none: then a free one is picked")
    };
    let mut taskspaces = document.taskspaces.iter();
    if let Some((id, _)) = taskspaces.find(|(_, it)| it.host_ports().any(|its| its == port)) {
        return Err(taken(format!("the taskspace '{id}''s")));
    }
    let listeners =
        ports::listen(port).map_err(|error| taken(format!("not to be had: {}", reason(&error))))?;
    document.resting_ports.take(port);
    Ok((port, listeners))
}

/// Takes a port out that is published; the host's port rests.
fn remove(
    document: &mut Document,
    id: &TaskspaceId,
    port: NonZero<u16>,
    settings: &PortSettings,
) -> Result<(), Problem> {
    let record = document.taskspaces.get_mut(id).ok_or_else(|| problems::not_found(id))?;
    let place = record.published.iter().position(|published| published.port == port);
    let published = record.published.remove(place.ok_or_else(|| not_published(id, port))?);
    let lacking = lacking(published);
    record.warnings.retain(|warning| *warning != lacking);
    record.last_updated = Timestamp::now();
    let_rest(document, [published.host_port], settings);
    Ok(())
}

fn not_published(id: &TaskspaceId, port: NonZero<u16>) -> Problem {
    Problem::new(Code::NotFound, format!("port {port} of '{id}' is not published"))
        .hint(format!("`taskspace port {id}` lists what is"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    const SETTINGS: PortSettings = PortSettings {
        dev: 29_000..=29_200,
        agent: 29_201..=29_201,
        rest: Duration::from_secs(600),
    };

    fn id(text: &str) -> TaskspaceId {
        text.parse().unwrap()
    }

    fn document() -> Document {
        let mut document = Document::new(Uuid::nil());
        for (name, dev_port) in [("a", 29_000), ("b", 29_001)] {
            let record = Record { dev_port, agent_port: dev_port + 20_000, ..Record::example() };
            document.taskspaces.insert(id(name), record.into());
        }
        document
    }

    fn publish(document: &mut Document, name: &str, port: u16, to: u16) -> Result<u16, Problem> {
        let port = NonZero::new(port).unwrap();
        let (published, _) = enter(document, &id(name), port, NonZero::new(to), &SETTINGS)?;
        Ok(published.host_port)
    }

    fn code(result: Result<u16, Problem>) -> Code {
        result.unwrap_err().code
    }

    #[test]
    fn a_port_is_published_once_and_its_port_is_nobody_elses() {
        let mut document = document();
        let host_port = publish(&mut document, "a", 3000, 0).unwrap();
        assert!(SETTINGS.dev.contains(&host_port) && host_port > 29_001);
        assert_eq!(publish(&mut document, "a", 3000, 0), Ok(host_port));
        assert_eq!(publish(&mut document, "a", 3000, host_port), Ok(host_port));
        assert_eq!(code(publish(&mut document, "a", 3000, 29_100)), Code::StateConflict);
        let taken = publish(&mut document, "b", 3000, host_port);
        let problem = taken.unwrap_err();
        assert_eq!(problem.code, Code::NetworkPortUnavailable);
        assert!(problem.detail.contains("the taskspace 'a''s"), "{problem}");
        assert_eq!(code(publish(&mut document, "b", 3000, 29_000)), Code::NetworkPortUnavailable);
        assert_eq!(publish(&mut document, "b", 3000, 29_300), Ok(29_300));
    }

    #[test]
    fn what_is_closed_rests_unless_it_is_chosen() {
        let mut document = document();
        let host_port = publish(&mut document, "a", 3000, 29_050).unwrap();
        let port = NonZero::new(3000).unwrap();
        remove(&mut document, &id("a"), port, &SETTINGS).unwrap();
        assert!(document.resting_ports.contains(host_port));
        assert_eq!(
            remove(&mut document, &id("a"), port, &SETTINGS).unwrap_err().code,
            Code::NotFound
        );
        assert_eq!(publish(&mut document, "b", 80, host_port), Ok(host_port));
        assert!(document.resting_ports.is_empty());
    }

    #[test]
    fn what_is_ssh_or_too_much_or_goes_is_refused() {
        let mut document = document();
        for role in Role::ALL {
            assert_eq!(code(publish(&mut document, "a", role.port(), 0)), Code::StateConflict);
        }
        for n in 1..=64 {
            publish(&mut document, "a", n, 0).unwrap();
        }
        assert_eq!(code(publish(&mut document, "a", 65, 0)), Code::QuotaExceeded);
        assert!(publish(&mut document, "a", 64, 0).is_ok());
        assert_eq!(code(publish(&mut document, "gone", 80, 0)), Code::TaskspaceNotFound);
        document.taskspaces.get_mut(&id("b")).unwrap().desired = Desired::Absent;
        assert_eq!(code(publish(&mut document, "b", 80, 0)), Code::StateConflict);
    }

    #[test]
    fn nobody_is_reached_while_it_is_paused() {
        use crate::model::{LimitSource, OnFull, Quantity, Storage, StorageAction, StorageHold};

        let published = PublishedPort { port: NonZero::new(80).unwrap(), host_port: 29_060 };
        let mut record = Record { published: vec![published], ..Record::example() };
        assert_eq!(to_be_open(&record), [published]);
        let used = Quantity(1);
        let held =
            StorageHold { action: StorageAction::Frozen, since: Timestamp::UNIX_EPOCH, used };
        let storage = Storage::new(used, LimitSource::Tier, OnFull::Freeze);
        record.storage = Some(Storage { held: Some(held), ..storage });
        assert_eq!(to_be_open(&record), []);
    }
}
